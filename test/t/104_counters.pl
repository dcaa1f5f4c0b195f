# Goal: every call is counted with what came of it, in the database it was made in: successes once their transaction has
# committed, replays apart, failures by SQLSTATE although they roll back, what succeeded and was rolled back as that.
# Nothing is lost on a clean shutdown.
#
# Method: eight sessions at once make a known number of calls of each outcome, in two databases; the sums in credit_stat
# must be exactly those. Then savepoints, prepared transactions, and a shutdown with the worker paused.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;
use LedgerServer;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $SESSIONS = 8;
my $ROUNDS = 50;
my $TOTALS = q{SELECT operation, outcome, sum(count) FROM credit_stat GROUP BY 1, 2 ORDER BY 1, 2};

my $node = new_server(
	'counters', q{
	shared_preload_libraries = 'credit_ledger'
	credit_ledger.sweep_interval = '200ms'
	max_prepared_transactions = 10
});
$node->safe_psql('postgres', 'CREATE DATABASE beside');
foreach my $database ('postgres', 'beside')
{
	$node->safe_psql($database, q{
		CREATE EXTENSION credit_ledger;
		SELECT credit_grant('org-' || o, 1000000, 'first') FROM generate_series(1, 3) o});
}

subtest 'known numbers of each outcome' => sub {

	# A round: two authorizations (one of them rolled back), a replay, two that fail, a commit, its replay, two commits
	# that fail, one that is rolled back with its savepoint.
	my $script = $node->basedir . '/round.sql';
	append_to_file($script, q{
\set ON_ERROR_STOP off
SELECT format('org-%s', 1 + :session % 3) AS org, format('s%s-r%s', :session, :round) AS campaign \gset
SELECT authorization_id AS id FROM credit_authorize(:'org', 2, :'campaign') \gset
SELECT FROM credit_authorize(:'org', 2, :'campaign');
BEGIN;
SELECT FROM credit_authorize(:'org', 2, :'campaign' || ' rolled back');
ROLLBACK;
SELECT FROM credit_authorize(:'org', 1000000000, :'campaign' || ' too much');
SELECT FROM credit_authorize('nobody', 2, :'campaign');
SELECT FROM credit_commit('auth-nothing');
BEGIN;
SAVEPOINT s;
SELECT FROM credit_commit(:'id', 1);
ROLLBACK TO s;
COMMIT;
SELECT FROM credit_commit(:'id', 3);
SELECT FROM credit_commit(:'id', 2);
SELECT FROM credit_commit(:'id', 2);
});
	my @runs;
	foreach my $session (1 .. $SESSIONS)
	{
		my $database = $session % 2 ? 'postgres' : 'beside';
		my $input = join '', map { "\\set session $session\n\\set round $_\n\\i $script\n" } 1 .. $ROUNDS;
		my $output = '';
		push @runs, IPC::Run::start(
			[ 'psql', '-XqAt', '-d', $node->connstr($database) ],
			'<', \$input, '>', \$output, '2>', \$output);
	}
	$_->finish foreach @runs;

	my $each = $SESSIONS / 2 * $ROUNDS;
	my $expected = join "\n",
	  "authorize|00000|$each", "authorize|LC001|$each", "authorize|LC002|$each", "authorize|replayed|$each",
	  "authorize|rolled_back|$each",
	  "commit|00000|$each", "commit|LC003|$each", "commit|LC005|$each", "commit|replayed|$each", "commit|rolled_back|$each",
	  'grant|00000|3';
	foreach my $database ('postgres', 'beside')
	{
		ok($node->poll_query_until($database, $TOTALS, $expected), "all outcomes of $database are counted, and no other");
		is($node->safe_psql($database, 'SELECT attempts, failures, causes, settled_by_timeout, rate FROM credit_commit_failure_rate()'),
			sprintf('%d|%d|{"LC003": %d, "LC005": %d, "rolled_back": %d}|0|0.750000', 4 * $each, 3 * $each, $each, $each, $each),
			'the failure rate');
		is_sound($node, 'the ledger is sound', database => $database);
	}
	is($node->safe_psql('postgres', q{
			SELECT DISTINCT operation, org_id LIKE 'org-_', authorization_id, sqlstate FROM credit_recent_failures()
			WHERE sqlstate IN ('LC001', 'LC003') ORDER BY 1}),
		"authorize|t||LC001\ncommit||auth-nothing|LC003", 'the last failures are kept with whom they were about');
};

subtest 'what becomes of a success' => sub {
	$node->safe_psql('postgres', 'DELETE FROM credit_stat');
	$node->safe_psql('postgres', q{
		BEGIN;
		SELECT credit_grant('org-1', 1, 'a');
		SAVEPOINT s1;
		SELECT credit_grant('org-1', 1, 'b');
		SAVEPOINT s2;
		SELECT credit_grant('org-1', 1, 'c');
		RELEASE s2;
		SELECT credit_grant('org-1', 1, 'd');
		ROLLBACK TO s1;
		SELECT credit_grant('org-1', 1, 'e');
		RELEASE s1;
		COMMIT;
		BEGIN;
		SELECT credit_adjust('org-1', 1, 'p', 'prepared');
		PREPARE TRANSACTION 'p';
		COMMIT PREPARED 'p';
		DO $$
		BEGIN
		  PERFORM credit_commit('auth-nothing');
		EXCEPTION WHEN OTHERS THEN
		  PERFORM credit_grant('org-1', 1, 'f');
		END $$;
		SELECT count(*) FROM credit_authorize_many('{org-1,org-1,org-2}', '{1,1,1}', '{m-1,m-1,m-2}');
		SELECT count(*) FROM credit_charge_many('{org-1,nobody,org-1,org-1,org-1}', '{1,1,1000000000,2,1}',
												'{n-1,n-1,n-2,n-1,n-1}', skip_refused => true);
		SELECT count(*) FROM credit_commit_many('{auth-nothing,auth-nothing}', skip_refused => true)});
	ok($node->poll_query_until('postgres', $TOTALS,
			"adjust|prepared|1\nauthorize|00000|2\nauthorize|replayed|1\n"
			  . "charge|00000|1\ncharge|LC001|1\ncharge|LC002|1\ncharge|LC004|1\ncharge|replayed|1\n"
			  . "commit|LC003|3\ngrant|00000|3\ngrant|rolled_back|3"),
		'savepoints, prepared transactions, caught errors, calls for many, some of them refused')
	  or diag($node->safe_psql('postgres', $TOTALS));
	is($node->safe_psql('postgres', q{
			SELECT operation, org_id, campaign_id, authorization_id, sqlstate, detail IS NOT NULL FROM credit_recent_failures()
			WHERE operation = 'charge' OR authorization_id = 'auth-nothing' ORDER BY 1, 5, 2 LIMIT 4}),
		"charge|org-1|n-2||LC001|t\ncharge|nobody|||LC002|f\ncharge|org-1|n-1||LC004|t\ncommit|||auth-nothing|LC003|f",
		'what was refused and skipped is kept among the failures, with what the error said, and its campaign if the account is there');
	$node->psql('postgres', q{SELECT credit_commit((credit_authorize('org-1', 5, 'too-much')).authorization_id, 6)});
	is($node->safe_psql('postgres', q{SELECT campaign_id, sqlstate, detail FROM credit_recent_failures() LIMIT 1}),
		"too-much|LC005|Used are 6, authorized are 5; the organisation's overage limit is 0.", 'so is a single call');
	$node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM credit_stat WHERE outcome = 'LC005'}) or die 'it is not drained';
};

subtest 'nothing is lost on a clean shutdown' => sub {
	$node->append_conf('postgresql.conf', "credit_ledger.worker = off\n");
	$node->restart;
	$node->safe_psql('postgres', q{DELETE FROM credit_stat; SELECT credit_grant('org-1', 1, 'shutdown')});
	$node->psql('postgres', q{SELECT credit_commit('auth-nothing')});
	is($node->safe_psql('postgres', $TOTALS), '', 'the worker is paused');
	$node->restart;
	is($node->safe_psql('postgres', q{SELECT sqlstate FROM credit_recent_failures() LIMIT 1}), 'LC003', 'recent failures are there');
	like($node->safe_psql('postgres', q{SELECT detail FROM credit_health() WHERE check_name = 'commit_failures'}),
		qr/^nothing of the last hour is counted yet; the last that failed: authorization "auth-nothing" LC003: authorization/, 'health names the last one, and no organisation that is not known');
	$node->append_conf('postgresql.conf', "credit_ledger.worker = on\n");
	$node->reload;
	ok($node->poll_query_until('postgres', $TOTALS, "commit|LC003|1\ngrant|00000|1"), 'what was counted before is drained after');
};

subtest 'draining by hand' => sub {
	$node->append_conf('postgresql.conf', "credit_ledger.worker = off\n");
	$node->restart;
	$node->safe_psql('postgres', q{DELETE FROM credit_stat; SELECT credit_grant('org-1', 1, 'by hand')});
	$node->safe_psql('postgres', 'BEGIN; SELECT credit_maintain(); ROLLBACK');
	is($node->safe_psql('postgres', $TOTALS), '', 'rolled back');
	$node->safe_psql('postgres', 'SELECT credit_maintain()');
	is($node->safe_psql('postgres', $TOTALS), 'grant|00000|1', 'what was not taken is still there');
	$node->safe_psql('postgres', 'SELECT credit_maintain(), credit_maintain()');
	is($node->safe_psql('postgres', $TOTALS), 'grant|00000|1', 'and is taken once');
	$node->safe_psql('postgres', q{
		SELECT credit_grant('org-1', 1, 'with a savepoint');
		BEGIN;
		SAVEPOINT s;
		SELECT credit_maintain();
		ROLLBACK TO s;
		COMMIT});
	is($node->safe_psql('postgres', $TOTALS), 'grant|00000|1', 'rolled back to a savepoint');
	$node->safe_psql('postgres', q{
		BEGIN;
		SAVEPOINT s;
		SELECT credit_maintain();
		RELEASE s;
		SELECT credit_maintain();
		COMMIT});
	is($node->safe_psql('postgres', $TOTALS), 'grant|00000|2', 'nothing was lost, and a savepoint that is kept takes once');
	fails_with($node, '0A000', q{BEGIN; SELECT credit_maintain(); PREPARE TRANSACTION 'drained'}, 'a prepared transaction');
	$node->safe_psql('postgres', 'SELECT credit_maintain()');
	is($node->safe_psql('postgres', $TOTALS), 'grant|00000|2', 'nothing was counted in between');
};

subtest 'more kinds of outcome than there is room for' => sub {
	$node->safe_psql('postgres', q{
		CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
		BEGIN
		  RAISE EXCEPTION 'refused' USING ERRCODE = new.idempotency_key;
		END $$;
		CREATE TRIGGER refuse BEFORE INSERT ON credit_ledger_open FOR EACH ROW WHEN (new.idempotency_key LIKE 'Z%') EXECUTE FUNCTION refuse();
		DO $$
		BEGIN
		  FOR i IN 1 .. 9000 LOOP
			BEGIN
			  PERFORM credit_authorize('org-1', 1, 'Z' || lpad(upper(to_hex(i)), 4, '0'));
			EXCEPTION WHEN OTHERS THEN
			END;
		  END LOOP;
		END $$;
		DROP TRIGGER refuse ON credit_ledger_open;
		SELECT credit_maintain()});
	is($node->safe_psql('postgres', q{SELECT count(*) BETWEEN 1000 AND 4096 FROM credit_stat WHERE outcome LIKE 'Z%'}), 't',
		'as many as there is room for, and the server\'s spare memory is not');
	$node->psql('postgres', q{SELECT credit_commit('auth-nothing')});
	$node->safe_psql('postgres', 'SELECT credit_maintain()');
	is($node->safe_psql('postgres', q{SELECT count FROM credit_stat WHERE outcome = 'LC003'}), '1', 'what was drained has made room');
};

$node->stop;
done_testing();
