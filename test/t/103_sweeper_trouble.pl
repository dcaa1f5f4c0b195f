# Goal: whatever is in the worker's way in one place, it goes on elsewhere. An organisation whose holds cannot be
# settled is recorded, does not stop the others, and is not tried over and over; an account that somebody has locked
# comes round; 100,000 expired holds are worked off in short transactions, while callers go on.
#
# Method: a trigger that raises for one organisation; a session that keeps an account locked; a database whose settings would
# end each of its transactions; a backlog with callers at work on the same organisations, and a look at the instants at which
# rows were settled.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;
use LedgerServer;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server(
	'trouble', q{
	shared_preload_libraries = 'credit_ledger'
	credit_ledger.sweep_interval = '500ms'
	credit_ledger.sweep_lag_threshold = '1s'
	track_commit_timestamp = on
});
$node->safe_psql('postgres', q{
	CREATE EXTENSION credit_ledger;
	SELECT credit_grant('o-' || o, 1000000, 'first') FROM generate_series(1, 100) o});

subtest 'a trigger that raises for one organisation' => sub {
	$node->safe_psql('postgres', q{
		CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
		BEGIN
		  IF new.org_id = 'o-7' THEN
		    RAISE EXCEPTION 'not this one' USING ERRCODE = 'ABCDE';
		  END IF;
		  RETURN new;
		END $$;
		CREATE TRIGGER refuse BEFORE INSERT ON credit_ledger_settled_default FOR EACH ROW EXECUTE FUNCTION refuse();
		SELECT count(credit_authorize('o-' || o, 10, 'trigger', timeout => '1 ms')) FROM generate_series(1, 20) o});
	ok($node->poll_query_until('postgres', q{SELECT count(*) = 19 FROM credit_ledger WHERE settled_by = 'timeout'}),
		'all others are settled');
	is($node->safe_psql('postgres', q{
			SELECT DISTINCT operation, org_id, sqlstate, message FROM credit_recent_failures()}),
		'sweep|o-7|ABCDE|not this one', 'the failure is recorded');

	# One failure a sweep: as many as sweeps were made, not as many as there would be time for.
	$node->poll_query_until('postgres', q{SELECT sum(count) > 2 FROM credit_stat WHERE operation = 'sweep' AND outcome = 'ABCDE'})
	  or die 'it is not tried again';
	is($node->safe_psql('postgres', q{
			SELECT (max(failed_at) - min(failed_at)) / (count(*) - 1) > interval '200 ms' FROM credit_recent_failures()}),
		't', 'it is tried once a sweep, no more');
	ok($node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM credit_alert WHERE kind = 'sweep_lag' AND closed_at IS NULL}),
		'that a hold is late is an alert');
	like(slurp_file($node->logfile), qr/WARNING:  could not settle expired holds of organisation "o-7": not this one/, 'the log tells');

	$node->safe_psql('postgres', 'DROP TRIGGER refuse ON credit_ledger_settled_default');
	settled('without the trigger it is settled');
	ok($node->poll_query_until('postgres', q{SELECT count(*) = 0 FROM credit_alert WHERE closed_at IS NULL}), 'and the alert is over');
};

subtest 'an account that is locked for long' => sub {
	my $session = $node->background_psql('postgres');

	$node->safe_psql('postgres', q{
		SELECT count(credit_authorize('o-' || o, 10, 'locked', timeout => '1 hour')) FROM generate_series(1, 20) o});
	$session->query_safe(q{BEGIN; SELECT credit_account_configure('o-5')});
	$node->safe_psql('postgres', q{UPDATE credit_ledger SET expires_at = now() WHERE campaign_id = 'locked'});
	ok($node->poll_query_until('postgres', q{SELECT count(*) = 19 FROM credit_ledger WHERE campaign_id = 'locked' AND status = 'committed'}),
		'all others are settled');
	ok($node->poll_query_until('postgres', q{SELECT oldest_expired_at IS NOT NULL FROM credit_worker_status()}), 'the status tells what is left');
	is($node->safe_psql('postgres', q{SELECT status FROM credit_ledger WHERE campaign_id = 'locked' AND org_id = 'o-5'}),
		'authorized', 'the locked one waits');
	$session->query_safe('COMMIT');
	$session->quit;
	settled('and comes round');
	is($node->safe_psql('postgres', q{SELECT count(*) FROM credit_recent_failures() WHERE org_id = 'o-5'}), '0', 'which was no failure');
};

subtest 'settings that are meant for people' => sub {
	my %settings = (
		default_transaction_isolation => 'serializable',
		default_transaction_read_only => 'on',
		idle_in_transaction_session_timeout => '1ms',
		lock_timeout => '1ms',
		'plpgsql.extra_errors' => 'all',
		search_path => 'nowhere',
		session_replication_role => 'local',
		standard_conforming_strings => 'off',
		statement_timeout => '1ms');
	$settings{transaction_timeout} = '1ms' if $node->pg_version >= 17;

	$node->safe_psql('postgres', 'CREATE DATABASE people');
	$node->safe_psql('people', q{
		CREATE EXTENSION credit_ledger;
		SELECT credit_grant('acme', 1000, 'g');
		SELECT credit_authorize('acme', 1, 'c', timeout => '1 hour')});
	$node->safe_psql('postgres', "ALTER DATABASE people SET $_ = '$settings{$_}'") foreach keys %settings;
	local $ENV{PGOPTIONS} = join ' ', '-c default_transaction_read_only=off -c search_path=public',
	  map { "-c $_=0" } grep { /timeout/ } keys %settings;
	$node->safe_psql('people', 'UPDATE credit_ledger SET expires_at = now()');
	ok($node->poll_query_until('people', q{SELECT settled_by = 'timeout' FROM credit_ledger}), 'the worker settles whatever they are');
	ok($node->poll_query_until('people', q{SELECT count(*) > 0 FROM credit_stat WHERE operation = 'sweep'}), 'and maintains');
	is_sound($node, 'the ledger is sound', database => 'people');
};

subtest 'a backlog of 100,000' => sub {
	# The worker must not begin before all have expired.
	$node->safe_psql('postgres', q{
		SELECT count(*) FROM credit_authorize_many(ARRAY(SELECT 'o-' || i % 100 + 1 FROM generate_series(1, 100000) i),
			array_fill(1::bigint, '{100000}'), ARRAY(SELECT 'backlog-' || i FROM generate_series(1, 100000) i), timeout => '1 hour');
		UPDATE credit_ledger SET expires_at = now() WHERE campaign_id LIKE 'backlog-%'});

	# Meanwhile callers work on the same organisations.
	my $calls = 0;
	my $longest = 0;
	while ($node->safe_psql('postgres', q{SELECT count(*) FROM credit_ledger_open WHERE campaign_id LIKE 'backlog-%'}) > 0)
	{
		$calls++;
		die 'the backlog is not worked off' if $calls > 10 * $PostgreSQL::Test::Utils::timeout_default;
		my $milliseconds = $node->safe_psql('postgres', qq{
			SELECT clock_timestamp() AS before \\gset
			SELECT credit_commit((credit_authorize('o-' || $calls % 100 + 1, 1, 'call-$calls')).authorization_id) \\g /dev/null
			SELECT (1000 * extract(epoch FROM clock_timestamp() - :'before'))::integer});
		$longest = $milliseconds if $milliseconds > $longest;
	}
	note("$calls calls, the slowest took $longest ms");
	cmp_ok($longest, '<', 5000, 'no caller waits for long');

	# Rows of one transaction have one xmin; the first was settled soon after it began.
	my ($count, $transactions, $duration) = split /\|/, $node->safe_psql('postgres', q{
		SELECT sum(rows), count(*), max(duration)
		FROM (SELECT count(*) AS rows, 1000 * extract(epoch FROM pg_xact_commit_timestamp(xmin) - min(settled_at)) AS duration
			  FROM credit_ledger WHERE campaign_id LIKE 'backlog-%' AND settled_by = 'timeout' GROUP BY xmin) t});
	note("$transactions transactions, the longest took $duration ms");
	is($count, 100000, 'all are settled by timeout');
	cmp_ok($duration, '<', 5000, 'no transaction takes long');
	cmp_ok($transactions, '>=', 100, 'none settles more than a thousand');
	is_sound($node, 'the ledger is sound');
};

$node->stop;
done_testing();

sub settled
{
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($name) = @_;

	ok($node->poll_query_until('postgres',
			q{SELECT count(*) = 0 FROM credit_ledger WHERE status = 'authorized' AND expires_at < now()}), $name) or die;
}
