# Goal: a ledger stays small. Idempotency keys that are older than credit_ledger.idempotency_retention go, in steps, by the
# worker or by credit_maintain(); never one whose authorization is live, was settled since, or can still be settled
# otherwise. What proves and judges the ledger takes none of it for a fault, and still sees what is one. Findings, runs,
# alerts and counts go when their times are over. Nothing goes in a ledger that the worker would leave alone.
#
# Method: rows are made by calls, then dated back; walks are made by credit_maintain() with the worker paused, once by the
# worker.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;
use LedgerServer;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('retention', q{
	shared_preload_libraries = 'credit_ledger'
	credit_ledger.worker = off
	credit_ledger.sweep_interval = '200ms'
	credit_ledger.true_up_window = '60d'
	credit_ledger.idempotency_retention = '30d'
});
my $KEYS = q{SELECT string_agg(idempotency_key, ' ' ORDER BY idempotency_key COLLATE "C") FROM credit_idempotency};

$node->safe_psql('postgres', q{
	CREATE EXTENSION credit_ledger;
	CREATE TABLE used (org_id text, campaign_id text, used_at timestamptz, quantity bigint);
	SELECT credit_usage_source_register('used', 'used');
	CREATE FUNCTION date_back(pattern text, days integer) RETURNS void LANGUAGE sql AS $$
		UPDATE credit_idempotency SET created_at = created_at - days * interval '1 day' WHERE idempotency_key LIKE pattern;
		UPDATE credit_ledger SET created_at = created_at - days * interval '1 day', settled_at = settled_at - days * interval '1 day'
			WHERE idempotency_key LIKE pattern;
	$$;
	CREATE FUNCTION hold(key text, campaign text = NULL) RETURNS text LANGUAGE sql AS $$
		SELECT authorization_id FROM credit_authorize('acme', 10, campaign, key)
	$$;
	SELECT credit_grant('acme', 10000, 'old grant'), credit_adjust('acme', 1, 'old adjust', 'r'), credit_grant('acme', 7, 'old lot', priority => 1);
	SELECT credit_void('acme', 3, 'r')});

subtest 'what goes and what stays' => sub {
	$node->safe_psql('postgres', q{
		SELECT credit_commit(hold('old committed')), credit_revert(hold('old reverted')), hold('old open'),
			credit_commit(hold('old settled lately')), hold('old timeout'), credit_charge('acme', 10, 'old charge');
		SELECT credit_sweep(clock_timestamp() + interval '1 hour', 1) FROM credit_extend((SELECT authorization_id FROM credit_ledger
			WHERE idempotency_key = 'old open'), timeout => '1 day');
		SELECT credit_refund((SELECT authorization_id FROM credit_ledger WHERE idempotency_key = 'old committed'), 'old refund', 1);
		SELECT date_back('old%', 40), date_back('lot:%', 40);
		UPDATE credit_ledger SET settled_at = now() - interval '29 days' WHERE idempotency_key = 'old settled lately';
		SELECT credit_commit(hold('young committed')), credit_grant('acme', 1, 'young grant');
		SELECT date_back('young%', 29);
		INSERT INTO credit_idempotency (org_id, operation, idempotency_key, amount, created_at)
		VALUES ('acme', 'authorize', 'old by hand', 1, '2001-01-01')});
	is($node->safe_psql('postgres', $KEYS),
		'lot:3 old adjust old by hand old charge old committed old grant old lot old open old refund old reverted old settled lately '
		. 'old timeout young committed young grant', 'keys of every operation');
	$node->safe_psql('postgres', 'SELECT credit_maintain()');
	is($node->safe_psql('postgres', $KEYS), 'old by hand old open old settled lately old timeout young committed young grant',
		'live, settled since, in the window for a late commit, young, or without an authorization: these stay');
	$node->safe_psql('postgres', q{DELETE FROM credit_idempotency WHERE idempotency_key = 'old by hand'});
	is_sound($node, 'the ledger is sound');
};

subtest 'what is left to see of them' => sub {
	is($node->safe_psql('postgres', q{SELECT replayed, amount FROM credit_authorize('acme', 20, idempotency_key => 'old committed')}),
		'f|20', 'the same key again is another hold');
	is($node->safe_psql('postgres', q{SELECT replayed FROM credit_commit((SELECT authorization_id FROM credit_ledger
		WHERE idempotency_key = 'old committed' AND status = 'committed'))}), 't', 'calls by id find the old authorization');
	is_sound($node, 'the ledger is sound with the key used again');
	$node->safe_psql('postgres', q{SELECT credit_commit(authorization_id) FROM credit_ledger_open WHERE idempotency_key = 'old committed'});
	is_sound($node, 'and settled');

	is($node->safe_psql('postgres', q{
			DELETE FROM credit_idempotency WHERE idempotency_key IN ('old open', 'young committed');
			SELECT check_name, detail FROM credit_verify()}),
		"authorization_has_idempotency_row|credit_idempotency (authorize, old open)\n"
		. 'authorization_has_idempotency_row|credit_idempotency (authorize, young committed)',
		'that a key is missing which cannot have been removed is seen');
	$node->safe_psql('postgres', q{
		INSERT INTO credit_idempotency (org_id, operation, idempotency_key, amount, authorization_id, created_at)
		SELECT org_id, 'authorize', idempotency_key, authorized_amount, authorization_id, created_at
		FROM credit_ledger WHERE idempotency_key IN ('old open', 'young committed')});
	is_sound($node, 'until it is back');
};

subtest 'campaigns whose keys are gone' => sub {
	$node->safe_psql('postgres', q{
		SELECT credit_commit(hold('c-1', 'c')), credit_commit(hold('c-2', 'c')), credit_charge('acme', 10, 'd');
		SELECT date_back('c-_', 50), date_back('d', 50);
		SELECT credit_commit(hold('c-3', 'c'));
		INSERT INTO used VALUES ('acme', 'c', now(), 30), ('acme', 'd', now(), 30), ('acme', 'never', now(), 30)});
	my $status = q{SELECT campaign_id, authorizations, charged, used, verdict FROM credit_campaign_status('c')
		UNION ALL SELECT campaign_id, authorizations, charged, used, verdict FROM credit_campaign_status('d', 'acme')};
	my $before = $node->safe_psql('postgres', $status);

	is($before, "c|3|30|30|balanced\nd|1|10|30|undercharged", 'the status before');
	make_walk_due();
	$node->safe_psql('postgres', 'SELECT credit_maintain()');
	is($node->safe_psql('postgres', q{SELECT string_agg(idempotency_key, ' ') FROM credit_idempotency WHERE idempotency_key ~ '^[cd]'}),
		'c-3', 'old keys are gone');
	is($node->safe_psql('postgres', $status), $before, 'the status is the same');
	is($node->safe_psql('postgres', q{SELECT count(*) FROM credit_campaign_status('no such', 'acme')}), '0', 'of no campaign there is none');

	my $judged = q{SELECT campaign_id, difference, verdict FROM credit_reconcile_campaigns('yesterday') WHERE campaign_id IN ('c', 'd', 'never')};
	is($node->safe_psql('postgres', $judged), "d|-20|undercharged\nnever|-30|unauthorized_usage",
		'usage that comes now finds its charges, and none where there are none');
	$node->safe_psql('postgres', q{
		SELECT credit_run_reconciliation('yesterday', tolerance => 0);
		SELECT credit_resolve_finding(finding_id, 'adjust') FROM credit_finding WHERE campaign_id = 'd'});
	is($node->safe_psql('postgres', q{SELECT authorized_amount, amount FROM credit_ledger WHERE campaign_id = 'd'}), '10|30',
		'the old charge is corrected, none is made');
	is_sound($node, 'the ledger is sound');
};

subtest 'in bounded steps, by the worker' => sub {
	$node->safe_psql('postgres', q{
		SELECT count(*) FROM credit_charge_many(array_fill('acme'::text, '{5000}'), array_fill(1::bigint, '{5000}'),
			(SELECT array_agg('many ' || i) FROM generate_series(1, 5000) i));
		SELECT date_back('many%', 50);
		VACUUM credit_idempotency});
	make_walk_due();
	is($node->safe_psql('postgres', q{SELECT credit_ledger_internal.remove_keys('0')}), 't', 'a step leaves something');
	my $left = $node->safe_psql('postgres', q{SELECT count(*) FROM credit_idempotency WHERE idempotency_key LIKE 'many%'});
	cmp_ok($left, '<', 5000, 'it removed some');
	cmp_ok($left, '>', 0, 'not all');
	set_worker($node, 'on');
	ok($node->poll_query_until('postgres', q{
		SELECT count(*) = 0 FROM credit_idempotency WHERE idempotency_key LIKE 'many%'}), 'the worker removes the rest');
	ok($node->poll_query_until('postgres', q{
		SELECT next_page IS NULL AND oldest_key > now() - interval '33 days' FROM credit_key_removal}), 'and comes to an end');
	is_sound($node, 'the ledger is sound');
	set_worker($node, 'off');
};

subtest 'findings, runs, alerts, counts' => sub {
	$node->safe_psql('postgres', q{
		INSERT INTO credit_reconciliation_run (since, until, tolerance, judged, in_flight, findings_new, findings_open, covered_until, started_at, finished_at)
		SELECT '-infinity', now(), 10, n, 0, 0, 0, CASE WHEN n < 4 THEN t END, t, t
		FROM (VALUES (1, now() - interval '800 days'), (2, now() - interval '700 days'), (3, now() - interval '600 days'),
		             (4, now() - interval '500 days')) v (n, t);
		INSERT INTO credit_finding (run_id, verdict, org_id, found_at, seen_at, resolution, resolved_at, note)
		SELECT (SELECT run_id FROM credit_reconciliation_run WHERE judged = 2), 'overcharged', 'acme', t, t, r, CASE WHEN r IS NOT NULL THEN t END, n
		FROM (VALUES ('old cleared', 'cleared', now() - interval '400 days'), ('old adjusted', 'adjust', now() - interval '400 days'),
		             ('old dismissed', 'dismiss', now() - interval '400 days'), ('young cleared', 'cleared', now() - interval '300 days')) v (n, r, t);
		INSERT INTO credit_finding_part SELECT finding_id, 'acme', 'p', NULL, 1, 0, 0, 1 FROM credit_finding WHERE note LIKE '%cleared';
		INSERT INTO credit_alert (kind, org_id, opened_at, closed_at, message)
		VALUES ('sweep_lag', NULL, '2001-01-01', '2001-01-01', 'old'), ('sweep_lag', NULL, '2001-01-01', now(), 'closed lately');
		INSERT INTO credit_stat VALUES ('2001-01-01', 'commit', '00000', 1);
		SELECT credit_maintain()});
	is($node->safe_psql('postgres', q{SELECT string_agg(note, ' ' ORDER BY finding_id) FROM credit_finding WHERE note ~ 'old|young'}),
		'old dismissed young cleared', 'a dismissal is kept for ever');
	is($node->safe_psql('postgres', q{SELECT count(*) FROM credit_finding_part WHERE campaign_id = 'p'}), '1', 'parts go with their findings');
	is($node->safe_psql('postgres', q{SELECT string_agg(judged::text, ' ' ORDER BY judged) FROM credit_reconciliation_run WHERE tolerance = 10}),
		'2 3 4', 'a run stays while a finding names it, or no later one has come as far');
	is($node->safe_psql('postgres', q{SELECT string_agg(message, ' ') FROM credit_alert WHERE kind = 'sweep_lag'}), 'closed lately', 'an old alert is gone');
	is($node->safe_psql('postgres', q{SELECT count(*) FROM credit_stat WHERE minute < '2002-01-01'}), '0', 'so are old counts');
};

subtest 'a dump that is restored' => sub {
	my $file = PostgreSQL::Test::Utils::tempdir . '/dump';

	$node->safe_psql('postgres', q{
		SELECT credit_charge('acme', 1, 'dumped'), date_back('dumped', 50);
		INSERT INTO credit_stat VALUES ('2001-01-01', 'commit', '00000', 1);
		CREATE DATABASE target});
	make_walk_due();
	$node->command_ok([ 'pg_dump', '-d', 'postgres', '-Fc', '-f', $file ], 'pg_dump');
	$node->command_ok([ 'pg_restore', '-e', '-d', $node->connstr('target'), $file ], 'pg_restore');
	is_sound($node, 'the copy is sound, with keys removed', database => 'target');
	$node->safe_psql('target', q{
		UPDATE credit_ledger_internal.dumped SET row_count = row_count + 1 WHERE table_name = 'credit_account';
		SELECT credit_maintain()});
	is($node->safe_psql('target', q{SELECT count(*) FROM credit_idempotency WHERE idempotency_key = 'dumped'}), '1',
		'while rows are still to come, no key goes');
	is($node->safe_psql('target', q{SELECT count(*) FROM credit_stat WHERE minute < '2002-01-01'}), '1', 'nor anything else');
	$node->safe_psql('target', q{SELECT credit_worker_wake(); SELECT credit_maintain()});
	is($node->safe_psql('target', q{
			SELECT (SELECT count(*) FROM credit_idempotency WHERE idempotency_key = 'dumped')
			     + (SELECT count(*) FROM credit_stat WHERE minute < '2002-01-01')}), '0', 'then they do');
	is_sound($node, 'the copy is sound', database => 'target');
};

subtest 'something in the way' => sub {
	$node->safe_psql('postgres', q{
		SELECT credit_charge('acme', 1, 'referred to'), date_back('referred to', 50);
		CREATE TABLE reference (key text COLLATE "C", org_id text COLLATE "C", operation credit_operation,
			FOREIGN KEY (key, org_id, operation) REFERENCES credit_idempotency (idempotency_key, org_id, operation));
		INSERT INTO reference VALUES ('referred to', 'acme', 'authorize');
		INSERT INTO credit_stat VALUES ('2001-01-02', 'commit', '00000', 1)});
	make_walk_due();
	my (undef, undef, $stderr) = $node->psql('postgres', 'SELECT credit_maintain()');
	like($stderr, qr/WARNING:  could not remove old idempotency keys: .*foreign key/, 'is a warning');
	is($node->safe_psql('postgres', q{SELECT count(*) FROM credit_stat WHERE minute < '2002-01-01'}), '0', 'the rest is done');

	$node->safe_psql('postgres', 'DROP TABLE reference');
	make_walk_due();
	my $session = $node->background_psql('postgres');
	$session->query_safe(q{BEGIN; SELECT FROM credit_idempotency WHERE idempotency_key = 'referred to' FOR UPDATE});
	(undef, undef, $stderr) = $node->psql('postgres', q{SET statement_timeout = '10s'; SELECT credit_maintain()});
	like($stderr, qr/WARNING:  could not remove old idempotency keys: .*lock timeout/, 'somebody who has locked a key is not waited for');
	$session->quit;
	$node->safe_psql('postgres', 'SELECT credit_maintain()');
	is($node->safe_psql('postgres', q{SELECT count(*) FROM credit_idempotency WHERE idempotency_key = 'referred to'}), '0', 'it goes afterwards');
};

$node->stop;
done_testing();

# As if the oldest key had been looked at long ago.
sub make_walk_due
{
	$node->safe_psql('postgres', q{UPDATE credit_key_removal SET oldest_key = '-infinity'});
}
