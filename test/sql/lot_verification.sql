-- credit_verify on lots: every check is made to fail by damage done by hand, and reports just that.
--
-- An organisation with lots in all sorts of states is sound, also while free credits wait in a lot that is over. Then, as the
-- tables' owner, one thing at a time is damaged, verify asked, and all rolled back.
\getenv abs_srcdir PG_ABS_SRCDIR
\set include :abs_srcdir '/sql/include/refusal.sql'
\i :include
\set include :abs_srcdir '/sql/include/days.sql'
\i :include

SELECT org_id FROM credit_account_configure('lot-verify');
SELECT pg_temp.lot('lot-verify', 100, ends => 10), pg_temp.lot('lot-verify', 100, ends => 20), pg_temp.lot('lot-verify', 100, priority => 200);
SELECT pg_temp.hold('lot-verify', 110, 'open'), (credit_charge('lot-verify', 40, 'charged')).status;
SELECT amount FROM credit_refund(pg_temp.id('lot-verify', 'charged'), 'refund', 30);
SELECT pg_temp.hold('lot-verify', 50, 'in parts');
SELECT amount FROM credit_commit(pg_temp.id('lot-verify', 'in parts'), 20, final => false);
SELECT pg_temp.day(10);
SELECT * FROM credit_verify('lot-verify');
SELECT amount FROM credit_commit(pg_temp.id('lot-verify', 'open'), 70);
SELECT pg_temp.hold('lot-verify', 60, 'open again');
SELECT pg_temp.day(20);
SELECT lot_no, amount, remaining, held, absorbed, voided, closed_at IS NOT NULL AS closed
FROM credit_lot WHERE org_id = 'lot-verify' ORDER BY lot_no;
SELECT * FROM credit_verify('lot-verify');

-- pg_temp.damage(statement): what verify says of the organisation afterwards; nothing of it stays.
CREATE FUNCTION pg_temp.damage(statement text) RETURNS SETOF text LANGUAGE plpgsql
  SET session_replication_role = replica  -- accounts and entries are guarded otherwise
AS $$
DECLARE
  found text[];
BEGIN
  BEGIN
    EXECUTE statement;
    SELECT array_agg(format('  %s: %s for %s (%s)', v.check_name, coalesce(v.actual, 'none'), coalesce(v.expected, 'none'), v.detail))
    INTO found FROM credit_verify() AS v;
    RAISE EXCEPTION SQLSTATE 'TEST1';
  EXCEPTION WHEN SQLSTATE 'TEST1' THEN NULL;
  END;
  RETURN NEXT statement;
  RETURN QUERY
    SELECT regexp_replace(pg_temp.named(line, 'lot-verify'), 'not after [^(]*', 'not after (an instant) ', 'g') COLLATE "C" AS told
    FROM unnest(coalesce(found, '{"  nothing found"}')) AS line ORDER BY told;
END
$$;
\pset tuples_only on
\pset format unaligned

-- The account.
SELECT pg_temp.damage($$UPDATE credit_account SET lot_balance = lot_balance + 1 WHERE org_id = 'lot-verify'$$);
SELECT pg_temp.damage($$UPDATE credit_account SET lot_held = lot_held - 1 WHERE org_id = 'lot-verify'$$);
SELECT pg_temp.damage($$UPDATE credit_account SET lot_balance = NULL, lot_held = NULL, lot_expires_at = NULL WHERE org_id = 'lot-verify'$$);
SELECT pg_temp.damage($$UPDATE credit_account SET lot_expires_at = 'infinity' WHERE org_id = 'lot-verify'$$);

-- The lots.
SELECT pg_temp.damage($$UPDATE credit_lot SET remaining = remaining - 1 WHERE org_id = 'lot-verify' AND lot_no = 3$$);
SELECT pg_temp.damage($$UPDATE credit_lot SET held = held + 1 WHERE org_id = 'lot-verify' AND lot_no = 3$$);
SELECT pg_temp.damage($$UPDATE credit_lot SET absorbed = absorbed + 1 WHERE org_id = 'lot-verify' AND lot_no = 1$$);
SELECT pg_temp.damage($$UPDATE credit_lot SET amount = amount + 1 WHERE org_id = 'lot-verify' AND lot_no = 3$$);
SELECT pg_temp.damage($$DELETE FROM credit_lot WHERE org_id = 'lot-verify' AND lot_no = 3$$);
SELECT pg_temp.damage($$UPDATE credit_lot SET org_id = 'lot-verify-b' WHERE org_id = 'lot-verify' AND lot_no = 1$$);

-- What authorizations stand on.
SELECT pg_temp.damage($$UPDATE credit_ledger SET lots = '{{2,59}}' WHERE authorization_id = pg_temp.id('lot-verify', 'open again')$$);
SELECT pg_temp.damage($$UPDATE credit_ledger SET lots = '{{2,61}}' WHERE authorization_id = pg_temp.id('lot-verify', 'open again')$$);
SELECT pg_temp.damage($$UPDATE credit_ledger SET lots = NULL WHERE authorization_id = pg_temp.id('lot-verify', 'charged')$$);
SELECT pg_temp.damage($$UPDATE credit_ledger SET lots = '{{3,10}}' WHERE authorization_id = pg_temp.id('lot-verify', 'charged')$$);
SELECT pg_temp.damage($$UPDATE credit_ledger SET committed_lots = NULL WHERE authorization_id = pg_temp.id('lot-verify', 'in parts')$$);

-- What entries say.
SELECT pg_temp.damage($$UPDATE credit_entry SET lots = NULL WHERE org_id = 'lot-verify' AND entry_no = 2$$);
SELECT pg_temp.damage($$UPDATE credit_entry SET lots = '{{2,99}}' WHERE org_id = 'lot-verify' AND entry_no = 2$$);
SELECT pg_temp.damage($$UPDATE credit_entry SET lots = '{{2,101}}' WHERE org_id = 'lot-verify' AND entry_no = 2$$);
SELECT pg_temp.damage($$UPDATE credit_entry SET lots = '{{77,-30}}' WHERE org_id = 'lot-verify' AND kind = 'expiry' AND amount = -30$$);
SELECT * FROM credit_verify();
