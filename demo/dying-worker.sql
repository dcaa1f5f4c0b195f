-- Black Friday has 200 recipients: hold 200 credits, send, and mark each mail that went out.
SELECT authorization_id AS hold
FROM credit_authorize('acme', 200, campaign_id => 'black-friday', timeout => '15 seconds') \gset
UPDATE sends SET status = 'sent'
WHERE id IN (SELECT id FROM sends WHERE campaign_id = 'black-friday' ORDER BY id LIMIT 187);

-- 187 went out. It is about to say so.
BEGIN;
UPDATE campaigns SET status = 'sent' WHERE id = 'black-friday';
SELECT authorization_id FROM credit_commit(:'hold', 187) \g /dev/null
\! kill -KILL $PPID
COMMIT;
