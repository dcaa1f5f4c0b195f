// Sends a campaign and pays for it, with npm's pg: node campaign.js CAMPAIGN
// May be started again whenever it ended, and twice at once: no mail is paid for twice.
'use strict';

const { Pool } = require('pg');

const pool = new Pool();    // libpq's variables say where: PGHOST, PGDATABASE, …
pool.on('connect', (client) => client.on('error', () => {}));  // what ends a connection is told to whoever uses it
pool.on('error', () => {});

const AGAIN = /^(40001|40P01|57P0[123]|08...)$|^E[A-Z]{4,}$/;     // those of the network, too: ECONNRESET

// Runs work in a transaction, and again after what a new attempt may cure: others in the way, a lost connection. What
// the ledger refuses (class LC) or cannot read (22) stays refused however often it is said.
async function inTransaction(work) {
  for (let attempt = 1; ; attempt++) {
    let client, broken;
    try {
      client = await pool.connect();
      await client.query('BEGIN');
      const result = await work(client);
      await client.query('COMMIT');
      return result;
    } catch (error) {
      broken = error;
      if (client) await client.query('ROLLBACK').then(() => { broken = undefined; }, () => {});
      const again = AGAIN.test(error.code) || /^Connection terminated/.test(error.message);
      if (attempt === 5 || !again) throw error;
      await new Promise((wake) => setTimeout(wake, Math.random() * 50 * 2 ** attempt));
    } finally {
      if (client) client.release(broken);
    }
  }
}

// Holds the credits and writes the mails to the outbox: both, or neither.
async function submit(client, campaign) {
  const { rows: [{ org_id, recipients }] } = await client.query(
    'SELECT org_id, recipients FROM campaigns WHERE id = $1 FOR UPDATE', [campaign]);
  const { rows: [{ authorization_id, status }] } = await client.query(
    'SELECT authorization_id, status FROM credit_authorize($1, $2, campaign_id => $3)',
    [org_id, recipients.length, campaign]);
  if (status === 'authorized') {    // a repetition tells what became of it: committed, or reverted
    await client.query("UPDATE campaigns SET status = 'sending', authorization_id = $2 WHERE id = $1",
      [campaign, authorization_id]);
    await client.query(`INSERT INTO outbox (campaign_id, recipient) SELECT $1, unnest($2::text[])
      ON CONFLICT DO NOTHING`, [campaign, recipients]);
  }
  return status;
}

// Takes a mail that nobody else has taken. Its id makes a good Message-ID: a crash right here sends it again.
async function deliverOne(client, campaign) {
  const { rows: [mail] } = await client.query(`SELECT id, recipient FROM outbox
    WHERE campaign_id = $1 AND status = 'queued' ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED`, [campaign]);
  if (!mail) return false;
  await client.query('UPDATE outbox SET status = $2 WHERE id = $1',
    [mail.id, mail.recipient.startsWith('bounce') ? 'bounced' : 'sent']);
  return true;
}

// Charges what was sent, together with the campaign's end. Whoever delivered the last mail does it.
async function settle(client, campaign) {
  const { rows: [{ authorization_id, size }] } = await client.query(
    'SELECT authorization_id, cardinality(recipients) AS size FROM campaigns WHERE id = $1 FOR UPDATE', [campaign]);
  const { rows: [{ sent, queued }] } = await client.query(`SELECT count(*) FILTER (WHERE status = 'sent') AS sent,
    count(*) FILTER (WHERE status = 'queued') AS queued FROM outbox WHERE campaign_id = $1`, [campaign]);
  if (BigInt(queued) > 0n) return 'others are still sending';     // int8 arrives as a string
  await client.query("UPDATE campaigns SET status = 'sent' WHERE id = $1", [campaign]);
  const { rows: [{ available }] } = await client.query(
    'SELECT available FROM credit_commit($1, $2)', [authorization_id, sent]);
  return `${sent} of ${size} sent, ${available} credits left`;
}

async function main(campaign) {
  let status;
  try {
    status = await inTransaction((client) => submit(client, campaign));
  } catch (error) {
    if (error.code !== 'LC001') throw error;
    // The failed transaction is gone, and has used up no key: top up, start again.
    await inTransaction((client) => client.query("UPDATE campaigns SET status = 'unpaid' WHERE id = $1", [campaign]));
    return `not sent: ${error.message}`;
  }
  if (status !== 'authorized') return `${status} already`;
  while (await inTransaction((client) => deliverOne(client, campaign)));
  return inTransaction((client) => settle(client, campaign));
}

main(process.argv[2])
  .then((said) => console.log(`${process.argv[2]}: ${said}`))
  .catch((error) => { console.error(error); process.exitCode = 1; })
  .finally(() => pool.end());
