// Buys credits for organisations that run low, with npm's pg. As many may run as there are servers: each alert buys
// once.
//
// A notification only says that there is something to look at. What is to be done is in the table, so one that was
// missed is made up for at the next look, and the alert's id is the key that both the payment and the grant are made
// with.
'use strict';

const { Client } = require('pg');

const PACKAGE = 1000;

const LOW = `SELECT alert_id, org_id FROM credit_alert
  WHERE kind = 'low_balance' AND closed_at IS NULL ORDER BY opened_at, org_id`;

async function buy(client, alert, org) {
  const key = `top-up:${alert}`;
  // Here the card is charged, with the same key for the payment provider.
  const { rows: [{ replayed, balance_after }] } = await client.query(
    "SELECT replayed, balance_after FROM credit_grant($1, $2, $3, reason => 'top-up')", [org, PACKAGE, key]);
  console.log(`${org}: ${replayed ? 'was topped up' : `bought ${PACKAGE}`}, balance ${balance_after}`);
}

async function watch() {
  const client = new Client();
  let fail, wake = () => {}, told = false;
  const failure = new Promise((_, reject) => { fail = reject; });
  failure.catch(() => {});
  client.on('error', fail);
  client.on('end', () => fail(new Error('the connection ended')));
  client.on('notification', () => { told = true; wake(); });
  try {
    await client.connect();
    await client.query('LISTEN credit_ledger_alert');   // first listen, then look: nothing falls in between
    for (;;) {
      told = false;
      for (const { alert_id, org_id } of (await client.query(LOW)).rows) await buy(client, alert_id, org_id);
      if (!told) await Promise.race([failure, new Promise((resolve) => { wake = resolve; })]);
    }
  } finally {
    client.end().catch(() => {});
  }
}

(async () => {
  for (;;) {
    await watch().catch((error) => console.log(`again in a second: ${error.message}`));
    await new Promise((resolve) => setTimeout(resolve, 1000));
  }
})();
