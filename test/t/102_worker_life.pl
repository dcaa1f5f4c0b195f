# Goal: the worker comes back: after SIGTERM, after kill -9, after a crash of the server in the middle of a sweep; on a
# standby it waits for the promotion. It shows itself in pg_stat_activity.
#
# Method: a server and its standby; processes are killed by the pid that the worker shows, and a hold that expires at
# once tells whether it is there again.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;
use LedgerServer;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $LAUNCHER = q{SELECT launcher_pid FROM credit_worker_status()};
my $campaigns = 0;
my $node = new_server(
	'life', q{
	shared_preload_libraries = 'credit_ledger'
	credit_ledger.sweep_interval = '200ms'
	restart_after_crash = on
}, allows_streaming => 1);
$node->safe_psql('postgres', 'CREATE EXTENSION credit_ledger');

subtest 'in pg_stat_activity' => sub {
	ok($node->poll_query_until('postgres', q{
			SELECT count(*), bool_and(datname IS NULL), bool_and(pid = launcher_pid), bool_and(query LIKE 'having expired holds settled%')
			FROM pg_stat_activity, credit_worker_status() WHERE backend_type = 'credit_ledger launcher'}, '1|t|t|t'),
		'one launcher, connected to no database');

	# A sweeper that takes its time can be looked at.
	$node->safe_psql('postgres', q{
		CREATE FUNCTION take_time() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(1); RETURN new; END';
		CREATE TRIGGER take_time BEFORE INSERT ON credit_ledger_settled_default FOR EACH ROW EXECUTE FUNCTION take_time()});
	hold() foreach 1 .. 3;
	ok($node->poll_query_until('postgres', q{
			SELECT count(*) = 1 FROM pg_stat_activity
			WHERE backend_type = 'credit_ledger sweeper' AND datname = 'postgres' AND state = 'active'
			  AND query = 'settling expired holds'}), 'a sweeper, and what it does');
	$node->safe_psql('postgres', 'DROP TRIGGER take_time ON credit_ledger_settled_default');
	settled('it comes to an end');
};

subtest 'SIGTERM' => sub {
	my $pid = $node->safe_psql('postgres', $LAUNCHER);
	is($node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)"), 't', 'the launcher is terminated');
	$node->poll_query_until('postgres', "SELECT launcher_pid <> $pid FROM credit_worker_status()") or die 'it does not come back';
	hold();
	settled('and comes back');
};

subtest 'kill -9' => sub {
	my $pid = $node->safe_psql('postgres', $LAUNCHER);
	kill 'KILL', $pid;
	$node->poll_query_until('postgres', "SELECT launcher_pid <> $pid FROM credit_worker_status()") or die 'it does not come back';
	hold();
	settled('the launcher comes back with the server');
};

subtest 'a crash between the transactions of a sweep' => sub {
	$node->safe_psql('postgres', q{
		SELECT credit_grant('many', 1000000, 'first') \g /dev/null
		SELECT count(*) FROM credit_authorize_many(ARRAY(SELECT 'many'::text FROM generate_series(1, 20000) i),
			array_fill(1::bigint, '{20000}'), ARRAY(SELECT 'many-' || i FROM generate_series(1, 20000) i), timeout => '1 hour');
		UPDATE credit_ledger SET expires_at = now() WHERE org_id = 'many'});
	$node->poll_query_until('postgres', q{SELECT count(*) > 0 FROM credit_ledger WHERE org_id = 'many' AND settled_by = 'timeout'})
	  or die 'the sweep does not begin';
	$node->stop('immediate');
	$node->start;
	settled('the rest is settled after the crash');
	is($node->safe_psql('postgres', q{
			SELECT count(*), sum(amount), (SELECT balance FROM credit_balance('many'))
			FROM credit_ledger WHERE org_id = 'many' AND status = 'committed'}),
		'20000|20000|980000', 'each hold once');
	is_sound($node, 'the ledger is sound');
};

subtest 'standby and promotion' => sub {
	$node->backup('base');
	my $standby = PostgreSQL::Test::Cluster->new('standby');
	$standby->init_from_backup($node, 'base', has_streaming => 1);
	$standby->append_conf('postgresql.conf', "hot_standby_feedback = on\n");
	$standby->start;
	set_worker($node, 'off');
	hold();
	$node->wait_for_catchup($standby);

	is($standby->safe_psql('postgres', q{SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'credit_ledger%'}),
		'0', 'a standby has no worker');
	is($standby->safe_psql('postgres', q{SELECT status, detail FROM credit_health() WHERE check_name = 'worker'}),
		'ok|starts when this standby is promoted', 'which health knows');
	$node->stop;
	$standby->promote;
	ok($standby->poll_query_until('postgres',
			q{SELECT count(*) = 0 FROM credit_ledger WHERE status = 'authorized' AND expires_at < now()}),
		'promotion starts it');
	is_sound($standby, 'the ledger is sound');
	$standby->stop;
};

done_testing();

# Make a hold that expires at once.
sub hold
{
	my ($session) = @_;
	my $sql;

	$campaigns++;
	$sql = qq{
		SELECT credit_grant('acme', 1, 'g-$campaigns');
		SELECT credit_authorize('acme', 1, 'c-$campaigns', timeout => '1 ms')};
	defined $session ? $session->query_safe($sql) : $node->safe_psql('postgres', $sql);
}

sub settled
{
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($name) = @_;

	ok($node->poll_query_until('postgres',
			q{SELECT count(*) = 0 FROM credit_ledger WHERE status = 'authorized' AND expires_at < now()}), $name) or die;
}
