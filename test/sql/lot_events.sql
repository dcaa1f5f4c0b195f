-- Lots: what each event does to lots and which entries it writes, event by event with all its figures.
--
-- Time passes by moving what is written into the past (include/days.sql). Each organisation is one story.
\getenv abs_srcdir PG_ABS_SRCDIR
\set include :abs_srcdir '/sql/include/days.sql'
\i :include
SET credit_ledger.true_up_window = '720h';
SELECT count(credit_account_configure('org-' || n)) FROM generate_series(1, 19) n;

-- 1. A hold outlives the end of what it took; what of it is not used leaves then.
SELECT pg_temp.lot('org-1', 100, ends => 10), balance_after FROM credit_grant('org-1', 50, 'paid');
SELECT pg_temp.day(5), pg_temp.hold('org-1', 60);
SELECT * FROM pg_temp.lots('org-1');
SELECT pg_temp.day(12);
SELECT balance, held, available FROM credit_balance('org-1');
SELECT * FROM pg_temp.lots('org-1');
SELECT status, amount, available FROM credit_commit(pg_temp.id('org-1'), 40);
SELECT * FROM pg_temp.entries('org-1', 2);
SELECT remaining, held, absorbed, closed_at IS NOT NULL AS closed FROM credit_lot WHERE org_id = 'org-1';
SELECT * FROM pg_temp.lots('org-1');

-- 2. Given back after the end.
SELECT pg_temp.day(0), pg_temp.lot('org-2', 100, ends => 10);
SELECT pg_temp.day(5), pg_temp.hold('org-2', 60);
SELECT pg_temp.day(12);
SELECT status, available FROM credit_revert(pg_temp.id('org-2'));
SELECT * FROM pg_temp.entries('org-2', 1);

-- 3. Refunded after the end: given, and gone again.
SELECT pg_temp.day(0), pg_temp.lot('org-3', 100, ends => 10);
SELECT pg_temp.day(5), pg_temp.hold('org-3', 60);
SELECT amount FROM credit_commit(pg_temp.id('org-3'));
SELECT pg_temp.day(12);
SELECT kind, amount, balance_after, available FROM credit_refund(pg_temp.id('org-3'), 'refund', 20);
SELECT * FROM pg_temp.entries('org-3', 2);

-- 4. A refund goes back to who paid last.
SELECT pg_temp.day(0), pg_temp.lot('org-4', 50, ends => 20), pg_temp.lot('org-4', 50, ends => 30), balance_after
FROM credit_grant('org-4', 50, 'paid');
SELECT pg_temp.hold('org-4', 120);
SELECT amount FROM credit_commit(pg_temp.id('org-4'));
SELECT kind, amount, balance_after FROM credit_refund(pg_temp.id('org-4'), 'refund', 40);
SELECT * FROM pg_temp.entries('org-4', 3);
SELECT * FROM pg_temp.lots('org-4');
SELECT lots, refunded_amount FROM credit_ledger WHERE org_id = 'org-4';

-- 5. A lot pays at its end what the organisation owes.
SELECT credit_limit FROM credit_account_configure('org-5', credit_limit => 50);
SELECT pg_temp.hold('org-5', 30);
SELECT available FROM credit_commit(pg_temp.id('org-5'));
SELECT pg_temp.lot('org-5', 100, ends => 10), pg_temp.day(10);
SELECT balance, available FROM credit_balance('org-5');
SELECT credit_sweep() >= 0 AS swept;
SELECT * FROM pg_temp.entries('org-5', 1);
SELECT remaining, absorbed, closed_at IS NOT NULL AS closed FROM credit_lot WHERE org_id = 'org-5';

-- 6. The order of use: priority, then end, then number; what never ends last; then the main pool.
SELECT pg_temp.day(0), pg_temp.lot('org-6', 40, ends => 10, priority => 100), pg_temp.lot('org-6', 40, ends => 20, priority => 50);
SELECT pg_temp.hold('org-6', 50);
SELECT balance_after FROM credit_grant('org-6', 10, 'paid');
SELECT pg_temp.lot('org-6', 10, priority => 100), pg_temp.lot('org-6', 10, ends => 10), pg_temp.lot('org-6', 10, ends => 30, priority => 0);
SELECT * FROM pg_temp.lots('org-6');
SELECT pg_temp.hold('org-6', 65, 'all but five');

-- 7. What the timeout charged was less.
SELECT pg_temp.lot('org-7', 100, ends => 10), pg_temp.hold('org-7', 80, timeout => '96 hours');
SELECT pg_temp.day(4), credit_sweep() > 0 AS swept;
SELECT status, settled_by FROM credit_ledger WHERE org_id = 'org-7';
SELECT pg_temp.day(11);
SELECT status, settled_by, amount, available FROM credit_commit(pg_temp.id('org-7'), 50);
SELECT * FROM pg_temp.entries('org-7', 1);

-- 8. A void takes what is free at once, and what is held when it is released.
SELECT pg_temp.day(0), pg_temp.lot('org-8', 100, priority => 10), pg_temp.hold('org-8', 80);
SELECT kind, amount, balance_after, available, replayed FROM credit_void('org-8', 1, 'charged back');
SELECT kind, amount, balance_after, available, replayed FROM credit_void('org-8', 1, 'charged back');
SELECT * FROM pg_temp.lots('org-8');
SELECT status, available FROM credit_commit(pg_temp.id('org-8'), 50);
SELECT * FROM pg_temp.entries('org-8', 1);

-- 9. Past balances, and those to come if nothing else happens; an instant itself is not past.
SELECT pg_temp.lot('org-9', 100, ends => 10), pg_temp.day(3);
SELECT n, credit_balance_at('org-9', pg_temp.at('org-9', n)) FROM unnest('{0,3,9,10,50}'::integer[]) n;
SELECT pg_temp.day(51);
SELECT n, credit_balance_at('org-9', pg_temp.at('org-9', n)) FROM unnest('{0,3,9,10,50}'::integer[]) n;
SELECT org_id FROM credit_account_configure('org-9');
SELECT n, credit_balance_at('org-9', pg_temp.at('org-9', n)) FROM unnest('{0,3,9,10,50}'::integer[]) n;

-- 10. A hold in parts: each charges the front of what it stands on, and what is left goes back from its end.
SELECT pg_temp.day(0), pg_temp.lot('org-10', 50, ends => 10), pg_temp.lot('org-10', 50, ends => 20), balance_after
FROM credit_grant('org-10', 50, 'paid');
SELECT pg_temp.hold('org-10', 120);
SELECT amount, available FROM credit_commit(pg_temp.id('org-10'), 70, final => false);
SELECT amount, lots, committed_amount, committed_lots FROM credit_ledger WHERE org_id = 'org-10';
SELECT pg_temp.day(15);
SELECT status, amount, available FROM credit_commit(pg_temp.id('org-10'), 90);
SELECT * FROM pg_temp.entries('org-10', 3);
SELECT * FROM pg_temp.lots('org-10');

-- 11. More than was held: the excess is taken from what is free now.
SELECT pg_temp.day(0), pg_temp.lot('org-11', 50, ends => 10), overage_limit FROM credit_account_configure('org-11', overage_limit => 100);
SELECT pg_temp.hold('org-11', 30), pg_temp.lot('org-11', 50, ends => 5);
SELECT status, amount, available FROM credit_commit(pg_temp.id('org-11'), 90);
SELECT lots FROM credit_ledger WHERE org_id = 'org-11';
SELECT * FROM pg_temp.entries('org-11', 2);

-- 12. Adjusting: up is the main pool's, down is taken in order, below zero at last.
SELECT pg_temp.lot('org-12', 50, ends => 10);
SELECT balance_after FROM credit_adjust('org-12', 20, 'up', 'goodwill');
SELECT balance_after FROM credit_adjust('org-12', -60, 'down', 'sold twice');
SELECT balance_after FROM credit_adjust('org-12', -60, 'further down', 'sold twice');
SELECT * FROM pg_temp.entries('org-12', 1);
SELECT * FROM pg_temp.lots('org-12');

-- 13. Extended before its end, nothing was due; a past end means now.
SELECT pg_temp.lot('org-13', 100, ends => 10), pg_temp.lot('org-13', 100, ends => 10), pg_temp.day(9);
SELECT lot_no, pg_temp.days('org-13', expires_at), priority FROM credit_lot_configure('org-13', 1, expires_at => pg_temp.at('org-13', 20));
SELECT pg_temp.day(11);
SELECT balance FROM credit_balance('org-13');
SELECT remaining, priority FROM credit_lot_configure('org-13', 1, priority => 7);
SELECT * FROM pg_temp.entries('org-13', 2);
SELECT lot_no, pg_temp.days('org-13', expires_at), remaining FROM credit_lot_configure('org-13', 1, expires_at => '2000-01-01');
SELECT balance FROM credit_balance('org-13');
SELECT org_id FROM credit_account_configure('org-13');
SELECT * FROM pg_temp.entries('org-13', 2);

-- 14. A hold keeps what it took, whatever the order becomes.
SELECT pg_temp.day(0), pg_temp.lot('org-14', 50, ends => 10), pg_temp.lot('org-14', 50, ends => 20), pg_temp.hold('org-14', 50);
SELECT priority FROM credit_lot_configure('org-14', 2, priority => 1);
SELECT pg_temp.hold('org-14', 30, 'later');
SELECT (credit_commit(pg_temp.id('org-14', 'later'), 20)).amount, (credit_commit(pg_temp.id('org-14'))).amount;
SELECT * FROM pg_temp.entries('org-14', 2);

-- 15. A refund opens a lot again that was used up and is not over.
SELECT pg_temp.lot('org-15', 50, ends => 10), pg_temp.hold('org-15', 50);
SELECT available FROM credit_commit(pg_temp.id('org-15'));
SELECT closed_at IS NOT NULL AS closed FROM credit_lot WHERE org_id = 'org-15';
SELECT available FROM credit_refund(pg_temp.id('org-15'), 'refund', 20);
SELECT * FROM pg_temp.lots('org-15');
SELECT lot_balance, lot_held, pg_temp.days('org-15', lot_expires_at) FROM credit_account WHERE org_id = 'org-15';
SELECT pg_temp.day(10);
SELECT available FROM credit_balance('org-15');

-- 16. A charge later found to be less, or more.
SELECT pg_temp.day(0), pg_temp.lot('org-16', 100, ends => 10), (credit_charge('org-16', 60, 'campaign')).available;
SELECT amount, available FROM credit_correct(pg_temp.id('org-16'), 50, 'counted again');
SELECT pg_temp.day(12);
SELECT amount, available FROM credit_correct(pg_temp.id('org-16'), 30, 'and again');
SELECT amount, available FROM credit_correct(pg_temp.id('org-16'), 40, 'no');
SELECT * FROM pg_temp.entries('org-16', 1);
SELECT lots FROM credit_ledger WHERE org_id = 'org-16';

-- 17. Several ends at once pay for the same debt, the first to end first.
SELECT pg_temp.day(0), pg_temp.lot('org-17', 20, ends => 10), pg_temp.lot('org-17', 30, ends => 9), pg_temp.lot('org-17', 40, ends => 8);
SELECT pg_temp.hold('org-17', 10), (credit_adjust('org-17', -105, 'fine', 'broke the terms')).balance_after;
SELECT pg_temp.lot('org-17', 60, ends => 10), pg_temp.lot('org-17', 20, ends => 9);
SELECT * FROM pg_temp.lots('org-17');
SELECT pg_temp.day(10);
SELECT * FROM pg_temp.lots('org-17');
SELECT balance, held, available FROM credit_balance('org-17');
SELECT org_id FROM credit_account_configure('org-17');
SELECT * FROM pg_temp.entries('org-17', 5);
SELECT lot_no, remaining, held, absorbed FROM credit_lot WHERE org_id = 'org-17' ORDER BY lot_no;
SELECT status, available FROM credit_revert(pg_temp.id('org-17'));
SELECT * FROM pg_temp.entries('org-17', 5);

-- 18. Available is never what ended: a hold that only ended credits would cover is refused.
SELECT pg_temp.day(0), pg_temp.lot('org-18', 100, ends => 10), pg_temp.day(10);
SELECT credit_authorize('org-18', 1, 'campaign');
SELECT count(*) FROM credit_entry WHERE org_id = 'org-18';

-- 19. A repeated grant is the same lot, whatever its end and priority.
SELECT pg_temp.day(0), pg_temp.lot('org-19', 100, ends => 10, key => 'plan:2026-12');
SELECT entry_no, replayed FROM credit_grant('org-19', 100, 'plan:2026-12', expires_at => now() + interval '9 days', priority => 3);
SELECT entry_no, replayed FROM credit_grant('org-19', 100, 'plan:2026-12');
SELECT credit_grant('org-19', 99, 'plan:2026-12', expires_at => now() + interval '9 days');
SELECT * FROM pg_temp.lots('org-19');

SELECT * FROM credit_verify();
