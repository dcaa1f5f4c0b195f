-- Lots, as whoever reads sees them: nothing depends on whether somebody posted what was due.
--
-- Two organisations with the same history: one is swept at every end, of the other nobody takes notice until the last day. Time
-- passes by moving what is written into the past (include/days.sql).
\getenv abs_srcdir PG_ABS_SRCDIR
\set include :abs_srcdir '/sql/include/days.sql'
\i :include
\set SHOW_CONTEXT never
CREATE TEMP VIEW twin AS SELECT org FROM unnest('{swept,unswept}'::text[]) org;
SELECT org, credit_limit FROM twin, credit_account_configure(org, credit_limit => 100, low_balance_threshold => 60);
SELECT org, pg_temp.lot(org, 100, ends => 10), pg_temp.lot(org, 100, ends => 20), pg_temp.lot(org, 100, ends => 20, priority => 7),
       pg_temp.lot(org, 10) FROM twin;
SELECT org, (credit_charge(org, 70, 'seventy')).available, pg_temp.hold(org, 60) FROM twin;
SELECT org, balance_after FROM twin, credit_adjust(org, -200, 'fine', 'broke the terms');
SELECT org, pg_temp.lot(org, 25, ends => 10), pg_temp.lot(org, 50, ends => 20) FROM twin;

-- What is seen on a day: what there is, what has moved, what will be.
CREATE TEMP VIEW seen AS
SELECT org, 'balance' AS what, format('%s, %s held, %s available', b.balance, b.held, b.available) AS told
FROM twin, credit_balance(org) b
UNION ALL
SELECT org, 'overview', format('%s, %s held, %s available%s', o.balance, o.held, o.available, CASE WHEN o.is_low THEN ', low' END)
FROM twin JOIN credit_account_overview o ON o.org_id = org
UNION ALL
SELECT org, 'lot ' || coalesce(l.lot_no::text, 'none'), format('%s remaining, %s held, %s free', l.remaining, l.held, l.free)
FROM twin, credit_lots(org) l
UNION ALL
SELECT org, 'movement ' || coalesce(m.lot_no::text, 'none'), string_agg(format('%s %s', m.kind, m.amount), ', ' ORDER BY m.entry_no)
FROM twin JOIN credit_lot_movement m ON m.org_id = org GROUP BY org, m.lot_no
UNION ALL
SELECT org, 'balances', string_agg(credit_balance_at(org, pg_temp.at(org, n))::text, ' ' ORDER BY n)
FROM twin, unnest('{0,1,9.9,10,10.1,15,20,20.1,30}'::numeric[]) n GROUP BY org
UNION ALL
SELECT org, 'statement ' || s.entry_no, format('%s %s, then %s; %s, on day %s', s.kind, s.amount, s.balance_after, s.lots,
                                               pg_temp.days(org, coalesce(s.effective_at, s.created_at)))
FROM twin, credit_statement(org) s;
CREATE FUNCTION pg_temp.look(n integer) RETURNS TABLE (what text, swept text, unswept text) LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_temp.day(n);
  RETURN QUERY
  SELECT coalesce(s.what, u.what), s.told, CASE WHEN u.told = s.told THEN '(the same)' ELSE u.told END
  FROM (SELECT * FROM seen WHERE org = 'swept') s FULL JOIN (SELECT * FROM seen WHERE org = 'unswept') u ON u.what = s.what
  ORDER BY coalesce(s.what, u.what) COLLATE "C";
END
$$;
SELECT * FROM pg_temp.look(5);
SELECT pg_temp.day(10);
SELECT org_id FROM credit_account_configure('swept');
SELECT * FROM pg_temp.look(12);
SELECT pg_temp.day(20);
SELECT org_id FROM credit_account_configure('swept');
SELECT * FROM pg_temp.look(22);

-- What is not written yet is told by created_at alone.
SELECT org, count(*), count(s.created_at) AS written FROM twin, credit_statement(org) s GROUP BY org ORDER BY org;
SELECT org, count(*), count(m.created_at) AS written FROM twin JOIN credit_lot_movement m ON m.org_id = org GROUP BY org ORDER BY org;
SELECT org, count(*) FROM twin JOIN credit_entry e ON e.org_id = org GROUP BY org ORDER BY org;

-- Any span of days adds up: what there was, and the lines, is what there is then.
CREATE TEMP VIEW wrong_sum AS
SELECT org, since, until
FROM twin, unnest('{0,1,9.9,10,10.1,15,20,20.1,21}'::numeric[]) since, unnest('{0,1,9.9,10,10.1,15,20,20.1,21}'::numeric[]) until
WHERE since <= until
  AND credit_balance_at(org, pg_temp.at(org, since))
      + (SELECT coalesce(sum(amount), 0) FROM credit_statement(org, pg_temp.at(org, since), pg_temp.at(org, until)))
      <> credit_balance_at(org, pg_temp.at(org, until));
SELECT * FROM wrong_sum;

-- The pages of a statement end at the same lines.
SELECT org, after, array_agg(s.entry_no ORDER BY s.entry_no)
FROM twin, unnest('{0,3,6,9,12}'::bigint[]) after, credit_statement(org, after_entry_no => after, max_rows => 3) s
GROUP BY org, after ORDER BY org, after;

-- In the end somebody calls, and nothing changes but that it is written.
SELECT org, status, available FROM twin, credit_commit(pg_temp.id(org), 50) ORDER BY org;
SELECT * FROM pg_temp.look(23);
SELECT count(*) FROM credit_entry s JOIN credit_entry u USING (entry_no, kind, amount, balance_after)
WHERE s.org_id = 'swept' AND u.org_id = 'unswept'
  AND pg_temp.days('swept', s.effective_at) IS NOT DISTINCT FROM pg_temp.days('unswept', u.effective_at) AND s.lots IS NOT DISTINCT FROM u.lots;
SELECT * FROM wrong_sum;

-- Who has nothing, and who is nobody.
SELECT org_id FROM credit_account_configure('empty');
SELECT * FROM credit_lots('empty');
SELECT * FROM credit_lots('nobody');
SELECT * FROM credit_lots(NULL);

-- Reading writes nothing, and works where nothing can be written.
SELECT pg_temp.lot('empty', 10, ends => 1);
SELECT pg_temp.day(25);
BEGIN READ ONLY;
SELECT available FROM credit_balance('empty');
SELECT lot_no, free FROM credit_lots('empty');
SELECT kind, amount FROM credit_statement('empty');
SELECT kind, amount FROM credit_lot_movement WHERE org_id = 'empty';
COMMIT;
SELECT count(*) FROM credit_entry WHERE org_id = 'empty';
SELECT * FROM credit_verify();
