-- Grants and adjustments: what they post, how they replay, what they refuse.
--
-- Each call's answer is compared with the rows it left; keys are used again with the same and with other parameters.
\getenv abs_srcdir PG_ABS_SRCDIR
\set include :abs_srcdir '/sql/include/refusal.sql'
\i :include

-- The first grant creates the account.
SELECT org_id, entry_no, kind, amount, authorization_id, balance_after, available, replayed
FROM credit_grant('grant-a', 1000, 'invoice-1', 'first purchase', '{"invoice": 1}');
SELECT org_id, balance, held, credit_limit, overage_limit, low_balance_threshold, frozen, last_entry_no, metadata,
       created_at <= updated_at AS in_order
FROM credit_account WHERE org_id = 'grant-a';

-- The next one adds to it; reason and metadata may be left out.
SELECT entry_no, kind, amount, balance_after, available, replayed FROM credit_grant('grant-a', 500, 'invoice-2');

-- Adjustments go both ways, below zero too: they are not limited by what is available.
SELECT entry_no, kind, amount, balance_after, available, replayed
FROM credit_adjust('grant-a', -300, 'correction-1', 'sold twice');
SELECT entry_no, kind, amount, balance_after, available, replayed
FROM credit_adjust('grant-a', 50, 'correction-2', 'goodwill');
SELECT entry_no, kind, amount, balance_after, available, replayed
FROM credit_adjust('grant-a', -2000, 'correction-3', 'chargeback');

-- What stands in the books, and the keys that were used.
SELECT entry_no, kind, amount, authorization_id, idempotency_key, reason, balance_after, metadata
FROM credit_entry WHERE org_id = 'grant-a' ORDER BY entry_no;
SELECT operation, idempotency_key, amount, campaign_id, authorization_id, entry_no
FROM credit_idempotency WHERE org_id = 'grant-a' ORDER BY entry_no;

-- A replay answers as the first call did, but with what is available now, and posts nothing. Reason and metadata
-- need not match.
SELECT org_id, entry_no, kind, amount, authorization_id, balance_after, available, replayed
FROM credit_grant('grant-a', 1000, 'invoice-1');
SELECT entry_no, kind, amount, balance_after, available, replayed
FROM credit_adjust('grant-a', -300, 'correction-1', 'told otherwise');
SELECT m.created_at = e.created_at AS same_instant
FROM credit_grant('grant-a', 500, 'invoice-2', 'another reason', '{"a": 1}') m
JOIN credit_entry e USING (org_id, entry_no);
SELECT balance, last_entry_no FROM credit_account WHERE org_id = 'grant-a';

-- The key spaces of the operations and of the organisations are apart.
SELECT entry_no, kind, amount, balance_after, replayed FROM credit_adjust('grant-a', 7, 'invoice-1', 'same key, other verb');
SELECT entry_no, kind, amount, balance_after, replayed FROM credit_grant('grant-b', 8, 'invoice-1');

-- The same key with another amount is refused, and says what is stored.
\pset tuples_only on
\pset format unaligned
SELECT pg_temp.refusal($$SELECT credit_grant('grant-a', 1001, 'invoice-1')$$);
SELECT pg_temp.refusal($$SELECT credit_adjust('grant-a', 300, 'correction-1', 'sold twice')$$);

-- Adjusting is for accounts that exist.
SELECT pg_temp.refusal($$SELECT credit_adjust('grant-nobody', 1, 'k', 'r')$$);

-- Nothing moves past bigint, in either direction; what fits to the last credit is taken.
SELECT pg_temp.refusal($$SELECT credit_grant('grant-b', 9223372036854775807, 'too much')$$);
SELECT balance_after FROM credit_grant('grant-b', 9223372036854775799, 'just enough');
SELECT pg_temp.refusal($$SELECT credit_grant('grant-b', 1, 'one more')$$);
SELECT pg_temp.refusal($$SELECT credit_adjust('grant-b', 1, 'one more', 'r')$$);
SELECT balance_after FROM credit_adjust('grant-b', -9223372036854775807, 'all of it', 'r');
SELECT balance_after FROM credit_adjust('grant-b', '-9223372036854775808', 'all the way down', 'r');
SELECT pg_temp.refusal($$SELECT credit_adjust('grant-b', -1, 'one less', 'r')$$);

SELECT * FROM credit_verify();
