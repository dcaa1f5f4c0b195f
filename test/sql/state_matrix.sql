-- The state machine: every state of an authorization with every verb, legal or not.
--
-- Three tables hold the contract: by which steps each state is brought about, how each verb is called, and what each
-- verb does in each state. For every pair a function makes a fresh organisation, takes the steps, calls the verb, and
-- compares answer, row, entries, balance and held with what was to come; then credit_verify() looks at the
-- organisation. One line a pair: ok, or what was other than expected.

-- A hold is of 100 credits out of a balance of 1000, with an overage limit of 20. States of one class behave alike.
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
  ('committed by timeout, long ago, refunded in full', 'refunded 100 of 100', 'hold/expire/sweep/leave the window/refund'),
  ('reverted by timeout', 'reverted by timeout', 'hold to revert/expire/sweep'),
  ('reverted by timeout, long ago', 'reverted by timeout, final', 'hold to revert/expire/sweep/leave the window'),
  ('reverted by timeout, confirmed', 'reverted', 'hold to revert/expire/sweep/revert'),
  ('reverted by timeout, charged after all', 'committed 60', 'hold to revert/expire/sweep/commit 60'),
  ('reverted by timeout, charged beyond the hold', 'committed 110', 'hold to revert/expire/sweep/commit 110');

CREATE FUNCTION pg_temp.take_step(step text, org text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  id text := (SELECT authorization_id FROM credit_ledger WHERE org_id = org);
BEGIN
  CASE step
    WHEN 'hold' THEN PERFORM credit_authorize(org, 100, 'campaign', timeout_action => 'commit');
    WHEN 'hold to revert' THEN PERFORM credit_authorize(org, 100, 'campaign', timeout_action => 'revert');
    WHEN 'expire' THEN UPDATE credit_ledger SET expires_at = '2000-01-01' WHERE authorization_id = id;
    WHEN 'sweep' THEN PERFORM credit_sweep('2000-01-02');
    WHEN 'leave the window' THEN
      UPDATE credit_ledger SET settled_at = settled_at - interval '8 days' WHERE authorization_id = id;
    WHEN 'commit' THEN PERFORM credit_commit(id);
    WHEN 'commit 0' THEN PERFORM credit_commit(id, 0);
    WHEN 'commit 60' THEN PERFORM credit_commit(id, 60);
    WHEN 'commit 110' THEN PERFORM credit_commit(id, 110);
    WHEN 'revert' THEN PERFORM credit_revert(id);
    WHEN 'refund' THEN PERFORM credit_refund(id, 'earlier');
    WHEN 'refund 30' THEN PERFORM credit_refund(id, 'earlier', 30);
  END CASE;
END
$$;

-- In a call $1 is the authorization's id, $2 the organisation. What settles is also called on an overdrawn account.
CREATE TEMP TABLE verb (
  position integer GENERATED ALWAYS AS IDENTITY, verb text, call text, overdrawn boolean DEFAULT false
);
INSERT INTO verb (verb, call) VALUES
  ('commit', 'credit_commit($1)'),
  ('commit 0', 'credit_commit($1, 0)'),
  ('commit 60', 'credit_commit($1, 60)'),
  ('commit 100', 'credit_commit($1, 100)'),
  ('commit 110', 'credit_commit($1, 110)'),
  ('commit 121', 'credit_commit($1, 121)'),
  ('revert', 'credit_revert($1)');
INSERT INTO verb (verb, call, overdrawn) SELECT verb || ', overdrawn', call, true FROM verb ORDER BY position;
INSERT INTO verb (verb, call) VALUES
  ('extend', 'credit_extend($1, ''1 hour'')'),
  ('refund', 'credit_refund($1, ''now'')'),
  ('refund 30', 'credit_refund($1, ''now'', 30)'),
  ('refund 200', 'credit_refund($1, ''now'', 200)'),
  ('sweep', 'credit_sweep(''2000-01-02'')'),
  ('authorize', 'credit_authorize($2, 100, ''campaign'')'),
  ('authorize 90', 'credit_authorize($2, 90, ''campaign'')'),
  ('authorize for another', 'credit_authorize($2, 100, ''another'', ''campaign'')');

-- What a verb does in a state: the row it leaves, the entry it posts, by which the balance moves, and by how much held
-- moves. Verbs in braces share the line, with their overdrawn form.
CREATE TEMP TABLE expectation (class text, verb text, outcome text, line text, kind text, amount bigint, held bigint);
INSERT INTO expectation
SELECT class, unnest(verbs::text[]), 'done', line, kind, amount, held
FROM (VALUES
  ('none', '{authorize,authorize for another}', 'authorized 100', NULL, 0, 100),
  ('none', '{authorize 90}', 'authorized 90', NULL, 0, 90),
  ('authorized', '{commit,commit 100}', 'committed 100 by caller', 'commit', -100, -100),
  ('authorized', '{commit 60}', 'committed 60 by caller', 'commit', -60, -100),
  ('authorized', '{commit 0}', 'committed 0 by caller', NULL, 0, -100),
  ('authorized', '{commit 110}', 'committed 110 by caller', 'commit', -110, -100),
  ('authorized', '{revert}', 'reverted 100 by caller', NULL, 0, -100),
  ('authorized', '{extend}', 'authorized 100', NULL, 0, 0),
  ('expired to commit', '{sweep}', 'committed 100 by timeout', 'commit', -100, -100),
  ('expired to revert', '{sweep}', 'reverted 100 by timeout', NULL, 0, -100),
  ('committed 100', '{refund}', 'committed 100 refunded 100 by caller', 'refund', 100, 0),
  ('committed 100', '{refund 30}', 'committed 100 refunded 30 by caller', 'refund', 30, 0),
  ('committed 60', '{refund}', 'committed 60 refunded 60 by caller', 'refund', 60, 0),
  ('committed 60', '{refund 30}', 'committed 60 refunded 30 by caller', 'refund', 30, 0),
  ('committed 110', '{refund}', 'committed 110 refunded 110 by caller', 'refund', 110, 0),
  ('committed 110', '{refund 30}', 'committed 110 refunded 30 by caller', 'refund', 30, 0),
  ('refunded 30 of 100', '{refund}', 'committed 100 refunded 100 by caller', 'refund', 70, 0),
  ('refunded 30 of 100', '{refund 30}', 'committed 100 refunded 60 by caller', 'refund', 30, 0),
  ('committed by timeout', '{commit,commit 100}', 'committed 100 by caller', NULL, 0, 0),
  ('committed by timeout', '{commit 60}', 'committed 60 by caller', 'true_up', 40, 0),
  ('committed by timeout', '{commit 0}', 'committed 0 by caller', 'true_up', 100, 0),
  ('committed by timeout', '{commit 110}', 'committed 110 by caller', 'true_up', -10, 0),
  ('committed by timeout', '{revert}', 'reverted 100 by caller', 'true_up', 100, 0),
  ('reverted by timeout', '{commit,commit 100}', 'committed 100 by caller', 'true_up', -100, 0),
  ('reverted by timeout', '{commit 60}', 'committed 60 by caller', 'true_up', -60, 0),
  ('reverted by timeout', '{commit 0}', 'committed 0 by caller', NULL, 0, 0),
  ('reverted by timeout', '{commit 110}', 'committed 110 by caller', 'true_up', -110, 0),
  ('reverted by timeout', '{revert}', 'reverted 100 by caller', NULL, 0, 0)
) AS v (class, verbs, line, kind, amount, held);

-- Where it does nothing: replayed, nothing (of a sweep), or the SQLSTATE.
INSERT INTO expectation
SELECT class, unnest(verbs::text[]), outcome, NULL, NULL, 0, 0
FROM (VALUES
  ('none', '{commit,commit 0,commit 60,commit 100,commit 110,commit 121,revert,extend,refund,refund 30,refund 200}', 'LC003'),
  ('none', '{sweep}', 'nothing'),
  ('authorized', '{"commit 110, overdrawn"}', 'LC001'),
  ('authorized', '{commit 121}', 'LC005'),
  ('authorized', '{refund,refund 30,refund 200}', 'LC006'),
  ('authorized', '{sweep}', 'nothing'),
  ('committed 100', '{commit,commit 100}', 'replayed'),
  ('committed 100', '{commit 0,commit 60,commit 110}', 'LC004'),
  ('committed 100', '{commit 121}', 'LC005'),
  ('committed 100', '{revert,extend}', 'LC006'),
  ('committed 100', '{refund 200}', 'LC008'),
  ('committed 100', '{sweep}', 'nothing'),
  ('committed 60', '{commit,commit 60}', 'replayed'),
  ('committed 60', '{commit 0,commit 100,commit 110}', 'LC004'),
  ('committed 0', '{commit,commit 0}', 'replayed'),
  ('committed 0', '{commit 60,commit 100,commit 110}', 'LC004'),
  ('committed 0', '{refund,refund 30,refund 200}', 'LC008'),
  ('committed 110', '{commit,commit 110}', 'replayed'),
  ('committed 110', '{commit 0,commit 60,commit 100}', 'LC004'),
  ('refunded 100 of 100', '{refund,refund 30,refund 200}', 'LC008'),
  ('reverted', '{commit,commit 0,commit 60,commit 100,commit 110,extend,refund,refund 30,refund 200}', 'LC006'),
  ('reverted', '{commit 121}', 'LC005'),
  ('reverted', '{revert}', 'replayed'),
  ('reverted', '{sweep}', 'nothing'),
  ('committed by timeout', '{"commit 110, overdrawn"}', 'LC001'),
  ('committed by timeout, final', '{commit,commit 0,commit 60,commit 100,commit 110,revert}', 'LC006'),
  ('reverted by timeout', '{"commit, overdrawn","commit 60, overdrawn","commit 100, overdrawn","commit 110, overdrawn"}', 'LC001'),
  ('reverted by timeout, final', '{revert}', 'LC006')
) AS v (class, verbs, outcome);

-- What a class does not say itself, it does as the class before it in this list says.
INSERT INTO expectation
SELECT i.class, e.verb, e.outcome, e.line, e.kind, e.amount, e.held
FROM (VALUES
  ('expired to commit', 'authorized'),
  ('expired to revert', 'authorized'),
  ('committed 60', 'committed 100'),
  ('committed 0', 'committed 100'),
  ('committed 110', 'committed 100'),
  ('refunded 30 of 100', 'committed 100'),
  ('refunded 100 of 100', 'committed 100'),
  ('committed by timeout', 'committed 100'),
  ('committed by timeout, final', 'committed 100'),
  ('reverted by timeout', 'reverted'),
  ('reverted by timeout, final', 'reverted')
) AS i (class, model) JOIN expectation AS e ON e.class = i.model
WHERE NOT EXISTS (SELECT FROM expectation AS own WHERE own.class = i.class AND own.verb = e.verb);

-- An authorization that is there replays, or conflicts.
INSERT INTO expectation
SELECT DISTINCT class, v.verb, v.outcome, NULL, NULL, 0, 0
FROM expectation,
     (VALUES ('authorize', 'replayed'), ('authorize 90', 'LC004'), ('authorize for another', 'LC004')) AS v (verb, outcome)
WHERE class <> 'none';

-- An overdrawn account makes no difference, unless it was said above.
INSERT INTO expectation
SELECT e.class, v.verb, e.outcome, e.line, e.kind, e.amount, e.held
FROM verb AS v JOIN expectation AS e ON v.verb = e.verb || ', overdrawn'
WHERE NOT EXISTS (SELECT FROM expectation AS own WHERE own.class = e.class AND own.verb = v.verb);

-- Each pair is expected once.
SELECT state, verb, count(e) FROM state CROSS JOIN verb LEFT JOIN expectation AS e USING (class, verb)
GROUP BY state, verb HAVING count(e) <> 1 ORDER BY state, verb;

-- What stands in the books of an organisation, at a glance and to the last bit.
CREATE FUNCTION pg_temp.books(org text, OUT line text, OUT settled_at timestamptz, OUT balance bigint, OUT held bigint,
                              OUT available bigint, OUT entries text[], OUT everything text)
LANGUAGE sql AS $$
  SELECT (SELECT format('%s %s%s%s', l.status, l.amount, ' refunded ' || nullif(l.refunded_amount, 0), ' by ' || l.settled_by)
          FROM credit_ledger AS l WHERE l.org_id = org),
         (SELECT l.settled_at FROM credit_ledger AS l WHERE l.org_id = org),
         a.balance, a.held, a.balance - a.held + a.credit_limit,
         (SELECT array_agg(e.kind || ' ' || e.amount ORDER BY e.entry_no) FROM credit_entry AS e WHERE e.org_id = org),
         concat(to_jsonb(a),
                (SELECT jsonb_agg(to_jsonb(l)) FROM credit_ledger AS l WHERE l.org_id = org),
                (SELECT jsonb_agg(to_jsonb(e) ORDER BY e.entry_no) FROM credit_entry AS e WHERE e.org_id = org),
                (SELECT jsonb_agg(to_jsonb(i) ORDER BY i.operation, i.idempotency_key)
                 FROM credit_idempotency AS i WHERE i.org_id = org))
  FROM credit_account AS a WHERE a.org_id = org
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
  IF verb.overdrawn THEN
    PERFORM credit_adjust(org, -5000, 'chargeback', 'stolen card');
  END IF;
  id := coalesce((SELECT l.authorization_id FROM credit_ledger AS l WHERE l.org_id = org), 'auth-none');
  before := pg_temp.books(org);
  started := clock_timestamp();

  BEGIN
    EXECUTE format('SELECT to_jsonb(answer) FROM %s AS answer', verb.call) INTO answer USING id, org;
    outcome := CASE WHEN answer = '0' THEN 'nothing' WHEN (answer ->> 'replayed')::boolean THEN 'replayed' ELSE 'done' END;
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
    CASE WHEN after.entries <> array_remove(before.entries || (expected.kind || ' ' || expected.amount), NULL)
      THEN format('entries %s after %s', after.entries, before.entries) END,
    CASE WHEN after.balance - before.balance <> expected.amount
      THEN format('balance moved by %s', after.balance - before.balance) END,
    CASE WHEN after.held - before.held <> expected.held
      THEN format('held moved by %s', after.held - before.held) END,
    CASE WHEN outcome = 'done' AND verb.call ~ 'commit|revert|sweep' AND after.settled_at < started
      THEN 'settled_at is older than the call' END,
    CASE WHEN answer ? 'status'
          AND after.line <> format('%s %s%s%s', answer ->> 'status', answer ->> 'amount',
                                   ' refunded ' || nullif(answer ->> 'refunded_amount', '0'), ' by ' || (answer ->> 'settled_by'))
      THEN format('answered %s', answer) END,
    CASE WHEN (answer ->> 'available')::bigint <> after.available
      THEN format('answered available %s', answer ->> 'available') END,
    (SELECT string_agg('verify: ' || v.check_name, ', ') FROM credit_verify(org) AS v)), '');

  -- Lest the next pair's sweep meets what is still expired here.
  PERFORM credit_sweep('2000-01-02');
  RETURN coalesce(problems, 'ok');
END
$$;

\pset tuples_only on
\pset format unaligned
\pset fieldsep ': '
SELECT format('%s / %s', state, verb), pg_temp.try_pair(s, v, e)
FROM state AS s CROSS JOIN verb AS v JOIN expectation AS e USING (class, verb)
ORDER BY s.position, v.position;

SELECT * FROM credit_verify();
