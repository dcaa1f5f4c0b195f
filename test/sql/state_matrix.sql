-- The state machine: every state of an authorization with every verb, legal or not.
--
-- Three tables hold the contract: by which steps each state is brought about, how each verb is called, and what each
-- verb does in each state. For every pair a function makes a fresh organisation, takes the steps, calls the verb, and
-- compares answer, row, entries, balance and held with what was to come. One line a state: how many verbs were tried,
-- and which did other than expected; in the end credit_verify() looks at all organisations.
SET client_min_messages = warning;  -- repetitions say what became of theirs; test/sql/told.sql reads that

-- A hold is of 100 credits out of a balance of 1000, with an overage limit of 20; a part of 40 is charged before it is
-- settled. States of one class behave alike.
CREATE TEMP TABLE state (position integer GENERATED ALWAYS AS IDENTITY, state text, class text, steps text);
INSERT INTO state (state, class, steps) VALUES
  ('none', 'none', ''),
  ('authorized', 'authorized', 'hold'),
  ('authorized, expired, to commit', 'expired to commit', 'hold/expire'),
  ('authorized, expired, to revert', 'expired to revert', 'hold to revert/expire'),
  ('committed in full', 'committed 100', 'hold/commit'),
  ('committed in full after expiry', 'committed 100', 'hold/expire/commit'),
  ('committed in part', 'committed 60', 'hold/commit 60'),
  ('committed for nothing', 'committed 0', 'hold/commit 0'),
  ('committed beyond the hold', 'committed 110', 'hold/commit 110'),
  ('refunded in part', 'refunded 30 of 100', 'hold/commit/refund 30'),
  ('refunded in full', 'refunded 100 of 100', 'hold/commit/refund'),
  ('reverted', 'reverted', 'hold/revert'),
  ('committed by timeout', 'committed by timeout', 'hold/expire/sweep'),
  ('committed by timeout, long ago', 'committed by timeout, final', 'hold/expire/sweep/leave the window'),
  ('committed by timeout, confirmed', 'committed 100', 'hold/expire/sweep/commit'),
  ('committed by timeout, confirmed, long ago', 'committed 100', 'hold/expire/sweep/commit/leave the window'),
  ('committed by timeout, trued up', 'committed 60', 'hold/expire/sweep/commit 60'),
  ('committed by timeout, taken back', 'reverted', 'hold/expire/sweep/revert'),
  ('committed by timeout, refunded in part', 'refunded 30 of 100', 'hold/expire/sweep/refund 30'),
  ('committed by timeout, long ago, refunded in full', 'refunded 100 of 100',
   'hold/expire/sweep/leave the window/refund'),
  ('reverted by timeout', 'reverted by timeout', 'hold to revert/expire/sweep'),
  ('reverted by timeout, long ago', 'reverted by timeout, final', 'hold to revert/expire/sweep/leave the window'),
  ('reverted by timeout, confirmed', 'reverted', 'hold to revert/expire/sweep/revert'),
  ('reverted by timeout, charged after all', 'committed 60', 'hold to revert/expire/sweep/commit 60'),
  ('reverted by timeout, charged beyond the hold', 'committed 110', 'hold to revert/expire/sweep/commit 110'),
  ('charged at once', 'committed 100', 'charge'),
  ('charged at once, refunded in part', 'refunded 30 of 100', 'charge/refund 30'),
  ('raised', 'authorized 150', 'hold/extend to 150'),
  ('lowered', 'authorized 60', 'hold/extend to 60'),
  ('raised and lowered again', 'authorized', 'hold/extend to 150/extend to 100'),
  ('charged in part', '40 charged', 'hold/part 40'),
  ('charged in parts', '40 charged', 'hold/part 20/part 40'),
  ('charged in part, expired, to commit', '40 charged, expired to commit', 'hold/part 40/expire'),
  ('charged in part, expired, to revert', '40 charged, expired to revert', 'hold to revert/part 40/expire'),
  ('charged in full, but open', '100 charged', 'hold/part 100'),
  ('charged in full, but open, expired', '100 charged, expired to commit', 'hold/part 100/expire'),
  ('charged in part, lowered to that', '40 charged of 40', 'hold/part 40/extend to 40'),
  ('charged in part, committed', 'committed 60', 'hold/part 40/commit 60'),
  ('charged in part, committed beyond the hold', 'committed 110', 'hold/part 40/commit 110'),
  ('charged in part, committed with that', 'committed 40, in parts', 'hold/part 40/commit 40'),
  ('charged in part, the rest reverted', 'committed 40, in parts', 'hold/part 40/revert'),
  ('charged in part, the rest reverted, expired', 'committed 40, in parts', 'hold/part 40/expire/revert'),
  ('charged in part, committed by timeout', 'committed by timeout, 40 charged', 'hold/part 40/expire/sweep'),
  ('charged in part, the rest reverted by timeout', 'rest reverted by timeout', 'hold to revert/part 40/expire/sweep'),
  ('charged in part, committed by timeout, long ago', 'committed by timeout, final',
   'hold/part 40/expire/sweep/leave the window'),
  ('charged in part, the rest reverted by timeout, long ago', 'rest reverted by timeout, final',
   'hold to revert/part 40/expire/sweep/leave the window'),
  ('charged in part, committed by timeout, taken back', 'committed 40, in parts', 'hold/part 40/expire/sweep/revert'),
  ('charged in part, the rest reverted by timeout, confirmed', 'committed 40, in parts',
   'hold to revert/part 40/expire/sweep/revert'),
  ('charged in part, the rest reverted by timeout, charged after all', 'committed 60',
   'hold to revert/part 40/expire/sweep/commit 60'),
  ('corrected from a commit', 'committed 60', 'hold/commit/correct 60'),
  ('corrected from a commit for nothing, beyond the hold', 'committed 110', 'hold/commit 0/correct 110'),
  ('corrected from a revert', 'committed 60', 'hold/revert/correct 60'),
  ('corrected from a commit by timeout', 'committed 60', 'hold/expire/sweep/correct 60'),
  ('corrected from a commit by timeout, long ago', 'committed 0', 'hold/expire/sweep/leave the window/correct 0'),
  ('corrected from a revert by timeout, long ago', 'committed 110',
   'hold to revert/expire/sweep/leave the window/correct 110'),
  ('corrected from parts, below them', 'committed 0', 'hold/part 40/commit 60/correct 0'),
  ('corrected from parts, the rest reverted', 'committed 60', 'hold/part 40/revert/correct 60'),
  ('corrected and refunded in part', 'refunded 30 of 100', 'hold/commit 60/refund 30/correct 100'),
  ('corrected twice', 'committed 100', 'hold/commit/correct 0/correct 100');

CREATE FUNCTION pg_temp.take_step(step text, org text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  id text := (SELECT authorization_id FROM credit_ledger WHERE org_id = org);
  verb text := substring(step, '^[a-z]+');
  number bigint := substring(step, '\d+');
BEGIN
  CASE
    WHEN step = 'hold' THEN PERFORM credit_authorize(org, 100, 'campaign', timeout_action => 'commit');
    WHEN step = 'hold to revert' THEN PERFORM credit_authorize(org, 100, 'campaign', timeout_action => 'revert');
    WHEN step = 'expire' THEN UPDATE credit_ledger SET expires_at = '2000-01-01' WHERE authorization_id = id;
    WHEN step = 'sweep' THEN PERFORM credit_sweep('2000-01-02');
    WHEN step = 'leave the window' THEN
      UPDATE credit_ledger SET settled_at = settled_at - interval '8 days' WHERE authorization_id = id;
    WHEN step = 'charge' THEN PERFORM credit_charge(org, 100, 'campaign');
    WHEN verb = 'commit' THEN PERFORM credit_commit(id, number);
    WHEN verb = 'part' THEN PERFORM credit_commit(id, number, final => false);
    WHEN verb = 'revert' THEN PERFORM credit_revert(id);
    WHEN verb = 'extend' THEN PERFORM credit_extend(id, amount => number);
    WHEN verb = 'refund' THEN PERFORM credit_refund(id, 'earlier', number);
    WHEN verb = 'correct' THEN PERFORM credit_correct(id, number, 'counted again');
  END CASE;
END
$$;

-- In a call $1 is the authorization's id, $2 the organisation. Those to which it may matter are also made on an account
-- that is overdrawn, and on one that is frozen.
CREATE TEMP TABLE verb (
  position integer GENERATED ALWAYS AS IDENTITY, verb text, call text, account text DEFAULT 'sound'
);
INSERT INTO verb (verb, call) VALUES
  ('commit', 'credit_commit($1)'),
  ('commit 0', 'credit_commit($1, 0)'),
  ('commit 40', 'credit_commit($1, 40)'),
  ('commit 60', 'credit_commit($1, 60)'),
  ('commit 100', 'credit_commit($1, 100)'),
  ('commit 110', 'credit_commit($1, 110)'),
  ('commit 121', 'credit_commit($1, 121)'),
  ('part', 'credit_commit($1, final => false)'),
  ('part 0', 'credit_commit($1, 0, final => false)'),
  ('part 40', 'credit_commit($1, 40, final => false)'),
  ('part 60', 'credit_commit($1, 60, final => false)'),
  ('part 100', 'credit_commit($1, 100, final => false)'),
  ('part 110', 'credit_commit($1, 110, final => false)'),
  ('revert', 'credit_revert($1)'),
  ('extend', 'credit_extend($1, ''1 hour'')'),
  ('extend to 0', 'credit_extend($1, amount => 0)'),
  ('extend to 40', 'credit_extend($1, amount => 40)'),
  ('extend to 60', 'credit_extend($1, amount => 60)'),
  ('extend to 100', 'credit_extend($1, amount => 100)'),
  ('extend to 150', 'credit_extend($1, ''1 hour'', 150)'),
  ('refund', 'credit_refund($1, ''now'')'),
  ('refund 30', 'credit_refund($1, ''now'', 30)'),
  ('refund 200', 'credit_refund($1, ''now'', 200)'),
  ('correct 0', 'credit_correct($1, 0, ''counted again'')'),
  ('correct 60', 'credit_correct($1, 60, ''counted again'')'),
  ('correct 100', 'credit_correct($1, 100, ''counted again'')'),
  ('correct 200', 'credit_correct($1, 200, ''counted again'')'),
  ('sweep', 'credit_sweep(''2000-01-02'')'),
  ('authorize', 'credit_authorize($2, 100, ''campaign'')'),
  ('authorize 90', 'credit_authorize($2, 90, ''campaign'')'),
  ('authorize for another', 'credit_authorize($2, 100, ''another'', ''campaign'')'),
  ('charge', 'credit_charge($2, 100, ''campaign'')'),
  ('charge 90', 'credit_charge($2, 90, ''campaign'')'),
  ('charge for another', 'credit_charge($2, 100, ''another'', ''campaign'')');
INSERT INTO verb (verb, call, account)
SELECT verb || ', overdrawn', call, 'overdrawn' FROM verb
WHERE verb ~ '^(commit|part|revert|extend|correct)' OR verb IN ('authorize', 'charge') ORDER BY position;
INSERT INTO verb (verb, call, account)
SELECT verb || ', frozen', call, 'frozen' FROM verb
WHERE verb IN ('commit', 'part 60', 'revert', 'extend', 'extend to 60', 'extend to 100', 'extend to 150', 'refund',
               'correct 200', 'authorize', 'charge') ORDER BY position;

-- What a verb does in a state: the row it leaves, the entry it posts, by which the balance moves, and by how much held
-- moves; what the row says of parts and of what is authorized, where that changes. Verbs in braces share the line, with
-- their forms on other accounts.
CREATE TEMP TABLE expectation (
  class text, verb text, outcome text, line text, kind text, amount bigint, held bigint, parts bigint, authorized bigint
);
INSERT INTO expectation
SELECT class, unnest(verbs::text[]), 'done', line, kind, amount, held
FROM (VALUES
  ('authorized', '{commit,commit 100}', 'committed 100 by caller', 'commit', -100, -100),
  ('authorized', '{commit 60}', 'committed 60 by caller', 'commit', -60, -100),
  ('authorized', '{commit 40}', 'committed 40 by caller', 'commit', -40, -100),
  ('authorized', '{commit 0}', 'committed 0 by caller', NULL, 0, -100),
  ('authorized', '{commit 110}', 'committed 110 by caller', 'commit', -110, -100),
  ('authorized', '{revert}', 'reverted 100 by caller', NULL, 0, -100),
  ('authorized', '{extend}', 'authorized 100', NULL, 0, 0),
  ('expired to commit', '{sweep}', 'committed 100 by timeout', 'commit', -100, -100),
  ('expired to revert', '{sweep}', 'reverted 100 by timeout', NULL, 0, -100),
  ('authorized 150', '{commit}', 'committed 150 by caller', 'commit', -150, -150),
  ('authorized 150', '{commit 121}', 'committed 121 by caller', 'commit', -121, -150),
  ('authorized 150', '{commit 110,"commit 110, overdrawn"}', 'committed 110 by caller', 'commit', -110, -150),
  ('authorized 150', '{commit 100}', 'committed 100 by caller', 'commit', -100, -150),
  ('authorized 150', '{commit 60}', 'committed 60 by caller', 'commit', -60, -150),
  ('authorized 150', '{commit 40}', 'committed 40 by caller', 'commit', -40, -150),
  ('authorized 150', '{commit 0}', 'committed 0 by caller', NULL, 0, -150),
  ('authorized 150', '{revert}', 'reverted 150 by caller', NULL, 0, -150),
  ('authorized 150', '{extend}', 'authorized 150', NULL, 0, 0),
  ('authorized 60', '{commit,commit 60}', 'committed 60 by caller', 'commit', -60, -60),
  ('authorized 60', '{commit 40}', 'committed 40 by caller', 'commit', -40, -60),
  ('authorized 60', '{commit 0}', 'committed 0 by caller', NULL, 0, -60),
  ('authorized 60', '{revert}', 'reverted 60 by caller', NULL, 0, -60),
  ('authorized 60', '{extend}', 'authorized 60', NULL, 0, 0),
  ('40 charged', '{commit,commit 100}', 'committed 100 by caller', 'commit', -60, -60),
  ('40 charged', '{commit 60}', 'committed 60 by caller', 'commit', -20, -60),
  ('40 charged', '{commit 40,revert}', 'committed 40 by caller', NULL, 0, -60),
  ('40 charged', '{commit 110}', 'committed 110 by caller', 'commit', -70, -60),
  ('40 charged', '{extend}', 'authorized 60', NULL, 0, 0),
  ('40 charged, expired to commit', '{sweep}', 'committed 100 by timeout', 'commit', -60, -60),
  ('40 charged, expired to revert', '{sweep}', 'committed 40 by timeout', NULL, 0, -60),
  ('100 charged', '{commit,commit 100,revert}', 'committed 100 by caller', NULL, 0, 0),
  ('100 charged', '{commit 110}', 'committed 110 by caller', 'commit', -10, 0),
  ('100 charged', '{extend}', 'authorized 0', NULL, 0, 0),
  ('100 charged, expired to commit', '{sweep}', 'committed 100 by timeout', NULL, 0, 0),
  ('40 charged of 40', '{commit,commit 40,revert}', 'committed 40 by caller', NULL, 0, 0),
  ('40 charged of 40', '{commit 60}', 'committed 60 by caller', 'commit', -20, 0),
  ('40 charged of 40', '{extend}', 'authorized 0', NULL, 0, 0),
  ('committed 100', '{refund}', 'committed 100 refunded 100 by caller', 'refund', 100, 0),
  ('committed 100', '{refund 30}', 'committed 100 refunded 30 by caller', 'refund', 30, 0),
  ('committed 100', '{correct 0}', 'committed 0 by caller', 'true_up', 100, 0),
  ('committed 100', '{correct 60}', 'committed 60 by caller', 'true_up', 40, 0),
  ('committed 100', '{correct 200}', 'committed 200 by caller', 'true_up', -100, 0),
  ('committed 60', '{refund}', 'committed 60 refunded 60 by caller', 'refund', 60, 0),
  ('committed 60', '{refund 30}', 'committed 60 refunded 30 by caller', 'refund', 30, 0),
  ('committed 60', '{correct 0}', 'committed 0 by caller', 'true_up', 60, 0),
  ('committed 60', '{correct 100}', 'committed 100 by caller', 'true_up', -40, 0),
  ('committed 60', '{correct 200}', 'committed 200 by caller', 'true_up', -140, 0),
  ('committed 40, in parts', '{refund}', 'committed 40 refunded 40 by caller', 'refund', 40, 0),
  ('committed 40, in parts', '{refund 30}', 'committed 40 refunded 30 by caller', 'refund', 30, 0),
  ('committed 40, in parts', '{correct 0}', 'committed 0 by caller', 'true_up', 40, 0),
  ('committed 40, in parts', '{correct 60}', 'committed 60 by caller', 'true_up', -20, 0),
  ('committed 40, in parts', '{correct 100}', 'committed 100 by caller', 'true_up', -60, 0),
  ('committed 40, in parts', '{correct 200}', 'committed 200 by caller', 'true_up', -160, 0),
  ('committed 0', '{correct 60}', 'committed 60 by caller', 'true_up', -60, 0),
  ('committed 0', '{correct 100}', 'committed 100 by caller', 'true_up', -100, 0),
  ('committed 0', '{correct 200}', 'committed 200 by caller', 'true_up', -200, 0),
  ('committed 110', '{refund}', 'committed 110 refunded 110 by caller', 'refund', 110, 0),
  ('committed 110', '{refund 30}', 'committed 110 refunded 30 by caller', 'refund', 30, 0),
  ('committed 110', '{correct 0}', 'committed 0 by caller', 'true_up', 110, 0),
  ('committed 110', '{correct 60}', 'committed 60 by caller', 'true_up', 50, 0),
  ('committed 110', '{correct 100}', 'committed 100 by caller', 'true_up', 10, 0),
  ('committed 110', '{correct 200}', 'committed 200 by caller', 'true_up', -90, 0),
  ('refunded 30 of 100', '{refund}', 'committed 100 refunded 100 by caller', 'refund', 70, 0),
  ('refunded 30 of 100', '{refund 30}', 'committed 100 refunded 60 by caller', 'refund', 30, 0),
  ('refunded 30 of 100', '{correct 60}', 'committed 60 refunded 30 by caller', 'true_up', 40, 0),
  ('refunded 30 of 100', '{correct 200}', 'committed 200 refunded 30 by caller', 'true_up', -100, 0),
  ('refunded 100 of 100', '{correct 200}', 'committed 200 refunded 100 by caller', 'true_up', -100, 0),
  ('reverted', '{correct 60}', 'committed 60 by caller', 'true_up', -60, 0),
  ('reverted', '{correct 100}', 'committed 100 by caller', 'true_up', -100, 0),
  ('reverted', '{correct 200}', 'committed 200 by caller', 'true_up', -200, 0),
  ('committed by timeout', '{commit,commit 100}', 'committed 100 by caller', NULL, 0, 0),
  ('committed by timeout', '{commit 60}', 'committed 60 by caller', 'true_up', 40, 0),
  ('committed by timeout', '{commit 40}', 'committed 40 by caller', 'true_up', 60, 0),
  ('committed by timeout', '{commit 0}', 'committed 0 by caller', 'true_up', 100, 0),
  ('committed by timeout', '{commit 110}', 'committed 110 by caller', 'true_up', -10, 0),
  ('committed by timeout', '{revert}', 'reverted 100 by caller', 'true_up', 100, 0),
  ('committed by timeout, 40 charged', '{revert}', 'committed 40 by caller', 'true_up', 60, 0),
  ('rest reverted by timeout', '{commit,commit 100}', 'committed 100 by caller', 'true_up', -60, 0),
  ('rest reverted by timeout', '{commit 60}', 'committed 60 by caller', 'true_up', -20, 0),
  ('rest reverted by timeout', '{commit 40,revert}', 'committed 40 by caller', NULL, 0, 0),
  ('rest reverted by timeout', '{commit 110}', 'committed 110 by caller', 'true_up', -70, 0),
  ('reverted by timeout', '{commit,commit 100}', 'committed 100 by caller', 'true_up', -100, 0),
  ('reverted by timeout', '{commit 60}', 'committed 60 by caller', 'true_up', -60, 0),
  ('reverted by timeout', '{commit 40}', 'committed 40 by caller', 'true_up', -40, 0),
  ('reverted by timeout', '{commit 0}', 'committed 0 by caller', NULL, 0, 0),
  ('reverted by timeout', '{commit 110}', 'committed 110 by caller', 'true_up', -110, 0),
  ('reverted by timeout', '{revert}', 'reverted 100 by caller', NULL, 0, 0)
) AS v (class, verbs, line, kind, amount, held);

-- The verbs that begin an authorization, charge a part of it or change what it holds.
INSERT INTO expectation
SELECT class, unnest(verbs::text[]), 'done', line, CASE WHEN amount <> 0 THEN 'commit' END, amount, held, parts,
       authorized
FROM (VALUES
  ('none', '{authorize,authorize for another}', 'authorized 100', 0, 100, NULL::bigint, 100),
  ('none', '{authorize 90}', 'authorized 90', 0, 90, NULL, 90),
  ('none', '{charge,charge for another}', 'committed 100 by caller', -100, 0, NULL, 100),
  ('none', '{charge 90}', 'committed 90 by caller', -90, 0, NULL, 90),
  ('authorized', '{part 40}', 'authorized 60', -40, -40, 40, NULL::bigint),
  ('authorized', '{part 60}', 'authorized 40', -60, -60, 60, NULL),
  ('authorized', '{part 100}', 'authorized 0', -100, -100, 100, NULL),
  ('authorized', '{extend to 40}', 'authorized 40', 0, -60, NULL, 40),
  ('authorized', '{extend to 60}', 'authorized 60', 0, -40, NULL, 60),
  ('authorized', '{extend to 150}', 'authorized 150', 0, 50, NULL, 150),
  ('authorized 150', '{part 40}', 'authorized 110', -40, -40, 40, NULL),
  ('authorized 150', '{part 60}', 'authorized 90', -60, -60, 60, NULL),
  ('authorized 150', '{part 100}', 'authorized 50', -100, -100, 100, NULL),
  ('authorized 150', '{part 110}', 'authorized 40', -110, -110, 110, NULL),
  ('authorized 150', '{extend to 40}', 'authorized 40', 0, -110, NULL, 40),
  ('authorized 150', '{extend to 60}', 'authorized 60', 0, -90, NULL, 60),
  ('authorized 150', '{extend to 100}', 'authorized 100', 0, -50, NULL, 100),
  ('authorized 150', '{extend to 150,"extend to 150, overdrawn","extend to 150, frozen"}', 'authorized 150', 0, 0, NULL,
   NULL),
  ('authorized 60', '{part 40}', 'authorized 20', -40, -40, 40, NULL),
  ('authorized 60', '{part 60}', 'authorized 0', -60, -60, 60, NULL),
  ('authorized 60', '{extend to 40}', 'authorized 40', 0, -20, NULL, 40),
  ('authorized 60', '{extend to 100}', 'authorized 100', 0, 40, NULL, 100),
  ('authorized 60', '{extend to 150}', 'authorized 150', 0, 90, NULL, 150),
  ('40 charged', '{part 60}', 'authorized 40', -20, -20, 60, NULL),
  ('40 charged', '{part 100}', 'authorized 0', -60, -60, 100, NULL),
  ('40 charged', '{extend to 40}', 'authorized 0', 0, -60, NULL, 40),
  ('40 charged', '{extend to 60}', 'authorized 20', 0, -40, NULL, 60),
  ('40 charged', '{extend to 150}', 'authorized 110', 0, 50, NULL, 150),
  ('100 charged', '{extend to 150}', 'authorized 50', 0, 50, NULL, 150),
  ('40 charged of 40', '{extend to 60}', 'authorized 20', 0, 20, NULL, 60),
  ('40 charged of 40', '{extend to 100}', 'authorized 60', 0, 60, NULL, 100),
  ('40 charged of 40', '{extend to 150}', 'authorized 110', 0, 110, NULL, 150)
) AS v (class, verbs, line, amount, held, parts, authorized);

-- Where it does nothing: replayed, nothing (of a sweep), or the SQLSTATE.
INSERT INTO expectation
SELECT class, unnest(verbs::text[]), outcome, NULL, NULL, 0, 0
FROM (VALUES
  ('none', '{commit,commit 0,commit 40,commit 60,commit 100,commit 110,commit 121,revert,extend}', 'LC003'),
  ('none', '{part 0,part 40,part 60,part 100,part 110,extend to 40,extend to 60,extend to 100,extend to 150}', 'LC003'),
  ('none', '{refund,refund 30,refund 200,correct 0,correct 60,correct 100,correct 200}', 'LC003'),
  ('none', '{"authorize, overdrawn","charge, overdrawn"}', 'LC001'),
  ('none', '{"authorize, frozen","charge, frozen"}', 'LC007'),
  ('none', '{sweep}', 'nothing'),
  ('authorized', '{"commit 110, overdrawn"}', 'LC001'),
  ('authorized', '{commit 121,part 110}', 'LC005'),
  ('authorized', '{part 0,extend to 100}', 'replayed'),
  ('authorized', '{"extend to 150, overdrawn"}', 'LC001'),
  ('authorized', '{"extend to 150, frozen"}', 'LC007'),
  ('authorized', '{refund,refund 30,refund 200,correct 0,correct 60,correct 100,correct 200}', 'LC006'),
  ('authorized', '{sweep}', 'nothing'),
  ('authorized 60', '{commit 100,commit 110,"commit 110, overdrawn",part 100}', 'LC005'),
  ('authorized 60', '{"extend to 100, overdrawn"}', 'LC001'),
  ('authorized 60', '{"extend to 100, frozen"}', 'LC007'),
  ('authorized 60', '{extend to 60}', 'replayed'),
  ('40 charged', '{commit 0,part 0}', 'LC004'),
  ('40 charged', '{part 40}', 'replayed'),
  ('100 charged', '{commit 0,commit 40,commit 60,part 0,part 40,part 60,extend to 40,extend to 60}', 'LC004'),
  ('100 charged', '{part 100}', 'replayed'),
  ('40 charged of 40', '{"commit 60, overdrawn","extend to 60, overdrawn","extend to 100, overdrawn"}', 'LC001'),
  ('40 charged of 40', '{commit 100,commit 110,"commit 110, overdrawn",part 60,part 100}', 'LC005'),
  ('40 charged of 40', '{"extend to 60, frozen","extend to 100, frozen"}', 'LC007'),
  ('40 charged of 40', '{extend to 40}', 'replayed'),
  ('committed 100', '{commit,commit 100,part 0,part 40,part 60,part 100,correct 100}', 'replayed'),
  ('committed 100', '{commit 0,commit 40,commit 60,commit 110}', 'LC004'),
  ('committed 100', '{commit 121}', 'LC005'),
  ('committed 100', '{part 110,revert,extend,extend to 40,extend to 60,extend to 100,extend to 150}', 'LC006'),
  ('committed 100', '{refund 200}', 'LC008'),
  ('committed 100', '{sweep}', 'nothing'),
  ('committed 60', '{commit,commit 60,correct 60}', 'replayed'),
  ('committed 60', '{commit 0,commit 40,commit 100,commit 110}', 'LC004'),
  ('committed 60', '{part 100}', 'LC006'),
  ('committed 40, in parts', '{commit,commit 40,revert}', 'replayed'),
  ('committed 40, in parts', '{commit 0,commit 60,commit 100,commit 110}', 'LC004'),
  ('committed 40, in parts', '{part 60,part 100}', 'LC006'),
  ('committed 0', '{commit,commit 0,correct 0}', 'replayed'),
  ('committed 0', '{commit 40,commit 60,commit 100,commit 110}', 'LC004'),
  ('committed 0', '{part 40,part 60,part 100}', 'LC006'),
  ('committed 0', '{refund,refund 30,refund 200}', 'LC008'),
  ('committed 110', '{commit,commit 110,part 110}', 'replayed'),
  ('committed 110', '{commit 0,commit 40,commit 60,commit 100}', 'LC004'),
  ('refunded 30 of 100', '{correct 0}', 'LC008'),
  ('refunded 100 of 100', '{refund,refund 30,refund 200,correct 0,correct 60}', 'LC008'),
  ('reverted', '{commit,commit 0,commit 40,commit 60,commit 100,commit 110}', 'LC006'),
  ('reverted', '{part 0,part 40,part 60,part 100,part 110}', 'LC006'),
  ('reverted', '{extend,extend to 40,extend to 60,extend to 100,extend to 150,refund,refund 30,refund 200}', 'LC006'),
  ('reverted', '{commit 121}', 'LC005'),
  ('reverted', '{revert,correct 0}', 'replayed'),
  ('reverted', '{sweep}', 'nothing'),
  ('committed by timeout', '{part 0,part 40,part 60,part 100}', 'LC006'),
  ('committed by timeout', '{"commit 110, overdrawn"}', 'LC001'),
  ('committed by timeout, 40 charged', '{commit 0}', 'LC004'),
  ('committed by timeout, final', '{commit,commit 0,commit 40,commit 60,commit 100,commit 110,revert}', 'LC006'),
  ('committed by timeout, final', '{part 0,part 40,part 60,part 100}', 'LC006'),
  ('rest reverted by timeout', '{commit 0}', 'LC004'),
  ('rest reverted by timeout', '{part 0,part 40}', 'LC006'),
  ('rest reverted by timeout', '{"commit, overdrawn","commit 60, overdrawn"}', 'LC001'),
  ('rest reverted by timeout', '{"commit 100, overdrawn","commit 110, overdrawn"}', 'LC001'),
  ('rest reverted by timeout, final', '{commit,commit 0,commit 40,commit 60,commit 100,commit 110}', 'LC006'),
  ('rest reverted by timeout, final', '{revert,part 0,part 40}', 'LC006'),
  ('reverted by timeout', '{"commit, overdrawn","commit 40, overdrawn","commit 60, overdrawn"}', 'LC001'),
  ('reverted by timeout', '{"commit 100, overdrawn","commit 110, overdrawn"}', 'LC001'),
  ('reverted by timeout, final', '{revert}', 'LC006')
) AS v (class, verbs, outcome);

-- What a class does not say itself, it does as its model does. A model stands before the classes that refer to it.
CREATE TEMP TABLE model (position integer GENERATED ALWAYS AS IDENTITY, class text, model text);
INSERT INTO model (class, model) VALUES
  ('expired to commit', 'authorized'),
  ('expired to revert', 'authorized'),
  ('authorized 150', 'authorized'),
  ('authorized 60', 'authorized'),
  ('40 charged', 'authorized'),
  ('40 charged, expired to commit', '40 charged'),
  ('40 charged, expired to revert', '40 charged'),
  ('100 charged', '40 charged'),
  ('100 charged, expired to commit', '100 charged'),
  ('40 charged of 40', '40 charged'),
  ('committed 60', 'committed 100'),
  ('committed 40, in parts', 'committed 100'),
  ('committed 0', 'committed 100'),
  ('committed 110', 'committed 100'),
  ('refunded 30 of 100', 'committed 100'),
  ('refunded 100 of 100', 'committed 100'),
  ('committed by timeout', 'committed 100'),
  ('committed by timeout, 40 charged', 'committed by timeout'),
  ('committed by timeout, final', 'committed 100'),
  ('rest reverted by timeout', 'committed 40, in parts'),
  ('rest reverted by timeout, final', 'committed 40, in parts'),
  ('reverted by timeout', 'reverted'),
  ('reverted by timeout, final', 'reverted');
CREATE FUNCTION pg_temp.inherit(heir text, model text) RETURNS void LANGUAGE sql AS $$
  INSERT INTO expectation
  SELECT heir, e.verb, e.outcome, e.line, e.kind, e.amount, e.held, e.parts, e.authorized
  FROM expectation AS e
  WHERE e.class = model AND NOT EXISTS (SELECT FROM expectation AS own WHERE own.class = heir AND own.verb = e.verb)
$$;
DO $$
DECLARE
  m record;
BEGIN
  FOR m IN SELECT * FROM model ORDER BY position LOOP
    PERFORM pg_temp.inherit(m.class, m.model);
  END LOOP;
END
$$;

-- An authorization that is there replays, or conflicts, whether it is called an authorization or a charge. Arguments
-- that cannot be right are refused before anything is looked at.
INSERT INTO expectation
SELECT DISTINCT class, v.verb, v.outcome, NULL, NULL, 0, 0
FROM expectation,
     (VALUES ('authorize', 'replayed'), ('authorize 90', 'LC004'), ('authorize for another', 'LC004'),
             ('charge', 'replayed'), ('charge 90', 'LC004'), ('charge for another', 'LC004')) AS v (verb, outcome)
WHERE class <> 'none';
INSERT INTO expectation
SELECT DISTINCT class, v.verb, v.outcome, NULL, NULL, 0, 0
FROM expectation, (VALUES ('part', '22004'), ('extend to 0', '22023')) AS v (verb, outcome);

-- An account that is overdrawn or frozen makes no difference, unless it was said above.
INSERT INTO expectation
SELECT e.class, v.verb, e.outcome, e.line, e.kind, e.amount, e.held, e.parts, e.authorized
FROM verb AS v JOIN expectation AS e ON v.verb = e.verb || ', ' || v.account
WHERE NOT EXISTS (SELECT FROM expectation AS own WHERE own.class = e.class AND own.verb = v.verb);

-- Each pair is expected once.
SELECT state, verb, count(e) FROM state CROSS JOIN verb LEFT JOIN expectation AS e USING (class, verb)
GROUP BY state, verb HAVING count(e) <> 1 ORDER BY state, verb;

-- What stands in the books of an organisation, at a glance and to the last bit.
CREATE FUNCTION pg_temp.line(shown jsonb) RETURNS text LANGUAGE sql AS $$
  SELECT concat_ws(' ', shown ->> 'status', shown ->> 'amount', 'refunded ' || nullif(shown ->> 'refunded_amount', '0'),
                   'by ' || (shown ->> 'settled_by'))
$$;
CREATE FUNCTION pg_temp.books(org text, OUT line text, OUT parts bigint, OUT authorized bigint,
                              OUT settled_at timestamptz, OUT balance bigint, OUT held bigint, OUT available bigint,
                              OUT entries text[], OUT everything text)
LANGUAGE plpgsql AS $$
BEGIN
  SELECT pg_temp.line(to_jsonb(l)), l.committed_amount, l.authorized_amount, l.settled_at,
         a.balance, a.held, a.balance - a.held + a.credit_limit, concat(to_jsonb(a), to_jsonb(l))
  INTO line, parts, authorized, settled_at, balance, held, available, everything
  FROM credit_account AS a LEFT JOIN credit_ledger AS l USING (org_id) WHERE a.org_id = org;
  entries := ARRAY(SELECT e.kind || ' ' || e.amount FROM credit_entry AS e WHERE e.org_id = org ORDER BY e.entry_no);
  everything := concat(everything,
    (SELECT jsonb_agg(to_jsonb(e) ORDER BY e.entry_no) FROM credit_entry AS e WHERE e.org_id = org),
    (SELECT jsonb_agg(to_jsonb(i) ORDER BY i.operation, i.idempotency_key) FROM credit_idempotency AS i
     WHERE i.org_id = org AND i.idempotency_key IN ('opening', 'campaign', 'earlier', 'now', 'chargeback')));
END
$$;

CREATE FUNCTION pg_temp.try_pair(state state, verb verb, expected expectation) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  org constant text := format('matrix-%s-%s', state.position, verb.position);
  id text;
  before record;
  after record;
  started timestamptz;
  answer jsonb;
  outcome text;
  problems text;
BEGIN
  PERFORM credit_account_configure(org, overage_limit => 20), credit_grant(org, 1000, 'opening');
  PERFORM pg_temp.take_step(step, org) FROM string_to_table(state.steps, '/') AS step;
  IF verb.account = 'overdrawn' THEN
    PERFORM credit_adjust(org, -5000, 'chargeback', 'stolen card');
  ELSIF verb.account = 'frozen' THEN
    PERFORM credit_account_configure(org, frozen => true);
  END IF;
  id := coalesce((SELECT l.authorization_id FROM credit_ledger AS l WHERE l.org_id = org), 'auth-none');
  before := pg_temp.books(org);
  started := clock_timestamp();

  BEGIN
    EXECUTE format('SELECT to_jsonb(answer) FROM %s AS answer', verb.call) INTO answer USING id, org;
    outcome := CASE WHEN answer = '0' THEN 'nothing' WHEN (answer ->> 'replayed')::boolean THEN 'replayed'
                    ELSE 'done' END;
  EXCEPTION WHEN OTHERS THEN
    outcome := SQLSTATE;
  END;
  after := pg_temp.books(org);

  problems := nullif(concat_ws(', ',
    CASE WHEN outcome <> expected.outcome
      THEN format('outcome %s for %s', outcome, expected.outcome) END,
    CASE WHEN expected.outcome <> 'done' AND after.everything <> before.everything
      THEN 'left a trace' END,
    CASE WHEN expected.outcome = 'done' AND after.line IS DISTINCT FROM expected.line
      THEN format('row %s for %s', after.line, expected.line) END,
    CASE WHEN after.parts IS DISTINCT FROM coalesce(expected.parts, before.parts)
      THEN format('charged in parts %s', after.parts) END,
    CASE WHEN after.authorized IS DISTINCT FROM coalesce(expected.authorized, before.authorized)
      THEN format('authorized %s', after.authorized) END,
    CASE WHEN after.entries <> array_remove(before.entries || (expected.kind || ' ' || expected.amount), NULL)
      THEN format('entries %s after %s', after.entries, before.entries) END,
    CASE WHEN after.balance - before.balance <> expected.amount
      THEN format('balance moved by %s', after.balance - before.balance) END,
    CASE WHEN after.held - before.held <> expected.held
      THEN format('held moved by %s', after.held - before.held) END,
    CASE WHEN outcome = 'done' AND verb.call ~ 'commit|revert|sweep|charge' AND after.settled_at < started
      THEN 'settled_at is older than the call' END,
    CASE WHEN answer ? 'status'
          AND (after.line, after.authorized) <> (pg_temp.line(answer), (answer ->> 'authorized_amount')::bigint)
      THEN format('answered %s', answer) END,
    CASE WHEN (answer ->> 'available')::bigint <> after.available
      THEN format('answered available %s', answer ->> 'available') END), '');

  -- Lest the next pair's sweep meets what is still expired here.
  PERFORM credit_sweep('2000-01-02');
  RETURN problems;
END
$$;

\pset tuples_only on
\pset format unaligned
SELECT concat_ws(E'\n  ', format('%s: %s verbs', state, count(*)),
                 string_agg(verb || ': ' || problem, E'\n  ' ORDER BY verb_position))
FROM (SELECT s.position, state, v.position AS verb_position, verb, pg_temp.try_pair(s, v, e) AS problem
      FROM state AS s CROSS JOIN verb AS v JOIN expectation AS e USING (class, verb)) AS pair
GROUP BY position, state ORDER BY position;

SELECT * FROM credit_verify();
