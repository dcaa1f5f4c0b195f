# Goal: the worker finds every database that has the extension by itself: a new one within ten seconds, a copy, all of
# them after a restart; and it is in nobody's way: dropping the extension or the database, and copying a database, need
# no force while it works.
#
# Method: holds that expire at once, in several databases, and a wait until somebody settled them. Only the library is
# preloaded; nothing else is set, but a short interval where time would be lost with waiting.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;
use LedgerServer;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $campaigns = 0;
my $node = new_server('discovery', "shared_preload_libraries = 'credit_ledger'\n");

subtest 'a new extension is found' => sub {
	my $before = $node->safe_psql('postgres', 'SELECT clock_timestamp()');
	$node->safe_psql('postgres', 'CREATE EXTENSION credit_ledger');
	$node->poll_query_until('postgres', 'SELECT last_sweep_at IS NOT NULL FROM credit_worker_status()')
	  or die 'the worker does not find the database';
	is($node->safe_psql('postgres', "SELECT last_sweep_at - '$before' < interval '10 seconds' FROM credit_worker_status()"),
		't', 'within ten seconds, with nothing configured but the preload');
	is($node->safe_psql('postgres', 'SELECT preloaded, enabled, launcher_pid IS NOT NULL FROM credit_worker_status()'),
		't|t|t', 'the worker shows itself');
	settles('postgres');
};

# From here on time is not what is tested.
$node->append_conf('postgresql.conf', "credit_ledger.sweep_interval = '200ms'\n");
$node->reload;

subtest 'several databases' => sub {
	$node->safe_psql('postgres', 'CREATE DATABASE beside');
	$node->safe_psql('postgres', 'CREATE DATABASE without');
	$node->safe_psql('beside', 'CREATE SCHEMA billing; CREATE EXTENSION credit_ledger SCHEMA billing');
	hold('postgres');
	hold('beside', 'billing');
	settled('postgres');
	settled('beside', 'billing');
	settles($_->[0], $_->[1]) foreach [ 'beside', 'billing' ], ['postgres'];

	$node->safe_psql('without', 'BEGIN; CREATE EXTENSION credit_ledger; ROLLBACK');
	$node->safe_psql('without', 'CREATE EXTENSION credit_ledger');
	settles('without');
};

subtest 'dropped and made again' => sub {
	foreach my $round (1 .. 3)
	{
		$node->safe_psql('without', 'DROP EXTENSION credit_ledger CASCADE');
		$node->safe_psql('without', 'CREATE EXTENSION credit_ledger');
		settles('without');
	}
	$node->safe_psql('without', 'DROP EXTENSION credit_ledger CASCADE');
	settles('postgres');
	$node->safe_psql('without', 'CREATE SCHEMA other; CREATE EXTENSION credit_ledger SCHEMA other');
	settles('without', 'other');
};

subtest 'found although its first maintenance failed' => sub {
	$node->safe_psql('postgres', 'CREATE DATABASE locked');
	poll_absent('locked');
	$node->safe_psql('locked', 'CREATE EXTENSION credit_ledger');
	my $lock = $node->background_psql('locked');
	$lock->query_safe('BEGIN; LOCK TABLE credit_stat IN ROW EXCLUSIVE MODE');
	hold('locked');
	$node->poll_query_until('locked', 'SELECT last_error_at IS NOT NULL FROM credit_worker_status()') or die 'maintenance does not fail';
	$lock->query_safe('COMMIT');
	$lock->quit;
	settles('locked');
	$node->safe_psql('postgres', 'DROP DATABASE locked');
};

# Each has a hold that expired, and whoever was swept is due again long before all have been.
subtest 'more databases than there is time for' => sub {
	my @many = map { "many_$_" } 1 .. 30;

	$node->append_conf('postgresql.conf', "credit_ledger.sweep_interval = '100ms'\n");
	set_worker($node, 'off');
	$node->safe_psql('postgres', "CREATE DATABASE many_1");
	$node->safe_psql('many_1', "CREATE EXTENSION credit_ledger");
	hold('many_1');
	$node->safe_psql('postgres', "CREATE DATABASE $_ TEMPLATE many_1") foreach @many[1 .. $#many];
	set_worker($node, 'on');
	settled($_) foreach @many;
	$node->append_conf('postgresql.conf', "credit_ledger.sweep_interval = '200ms'\n");
	set_worker($node, 'off');
	$node->safe_psql('postgres', "DROP DATABASE $_") foreach @many;
	set_worker($node, 'on');
};

subtest 'copied, renamed, dropped' => sub {
	hold('beside', 'billing', timeout => '1 hour');
	$node->safe_psql('postgres', 'CREATE DATABASE copy TEMPLATE beside');
	pass('a database can be copied while the worker works');
	settles('copy', 'billing');
	$node->safe_psql('postgres', 'ALTER DATABASE copy RENAME TO renamed');
	settles('renamed', 'billing');
	$node->safe_psql('postgres', 'DROP DATABASE renamed');
	pass('a database can be dropped while the worker works');
	$node->safe_psql('postgres', 'DROP DATABASE without');
	settles('postgres');
};

subtest 'a large backlog is in nobody\'s way either' => sub {
	$node->safe_psql('postgres', 'CREATE DATABASE busy TEMPLATE beside');
	$node->safe_psql('busy', q{
		SET search_path = billing;
		SELECT credit_grant('o-' || o, 1000000, 'first') FROM generate_series(1, 100) o;
		SELECT count(*) FROM credit_authorize_many(ARRAY(SELECT 'o-' || i % 100 + 1 FROM generate_series(1, 20000) i),
			array_fill(1::bigint, '{20000}'), ARRAY(SELECT 'c-' || i FROM generate_series(1, 20000) i), timeout => '1 ms')});
	$node->safe_psql('postgres', 'DROP DATABASE busy');
	pass('a database that is being swept can be dropped');
	settles('postgres');
};

subtest 'settings' => sub {
	set_worker($node, 'off');
	my $swept = $node->safe_psql('postgres', 'SELECT last_sweep_at FROM credit_worker_status()');
	my $campaign = hold('postgres');
	is($node->safe_psql('postgres', 'SELECT credit_worker_wake()'), 't', 'the launcher is woken');
	is($node->safe_psql('postgres', 'SELECT last_sweep_at FROM credit_worker_status()'), $swept, 'worker = off: nothing is swept');
	is($node->safe_psql('postgres', "SELECT status FROM credit_ledger WHERE campaign_id = '$campaign'"),
		'authorized', 'and nothing is settled');
	is($node->safe_psql('postgres', q{SELECT status FROM credit_health() WHERE check_name = 'worker'}), 'warning', 'health tells');
	set_worker($node, 'on');
	settled('postgres');
	is($node->safe_psql('postgres', q{SELECT status FROM credit_health() WHERE check_name = 'worker'}), 'ok', 'worker = on: it goes on');
};

subtest 'paused in one database' => sub {
	$node->safe_psql('postgres', 'ALTER DATABASE postgres SET credit_ledger.worker = off');
	my $campaign = hold('postgres');
	ok($node->poll_query_until('postgres', q{SELECT left_alone_because LIKE '%worker is off%' FROM credit_worker_status()}),
		'the worker says that it leaves the database alone');
	is($node->safe_psql('postgres', "SELECT status FROM credit_ledger WHERE campaign_id = '$campaign'"), 'authorized', 'and does');
	is($node->safe_psql('postgres', q{SELECT status FROM credit_health() WHERE check_name = 'worker'}), 'warning', 'health tells');
	$node->safe_psql('postgres', 'ALTER DATABASE postgres RESET credit_ledger.worker');
	ok($node->poll_query_until('postgres', "SELECT status = 'committed' FROM credit_ledger WHERE campaign_id = '$campaign'"), 'then it goes on');
};

subtest 'after a restart' => sub {
	hold('postgres');
	hold('beside', 'billing');
	$node->restart;
	settled('postgres');
	settled('beside', 'billing');
	like(slurp_file($node->logfile), qr/LOG:  credit_ledger launcher started/, 'the log tells of the start');
	like(slurp_file($node->logfile), qr/LOG:  credit_ledger launcher shutting down/, 'of the end');
	like(slurp_file($node->logfile), qr/LOG:  credit_ledger settled \d+ expired holds of database "beside"/, 'and of what was settled');
};

subtest 'single-user mode and databases without connections are left in peace' => sub {
	$node->safe_psql('postgres', 'ALTER DATABASE beside ALLOW_CONNECTIONS false');
	# A sweeper may be on its way; the launcher looks at the list each interval.
	settles('postgres') foreach 1 .. 3;
	my $offset = -s $node->logfile;
	settles('postgres') foreach 1 .. 3;
	unlike(slurp_file($node->logfile, $offset), qr/not currently accepting connections/, 'nobody knocks where nobody may enter');
	$node->safe_psql('postgres', 'ALTER DATABASE beside ALLOW_CONNECTIONS true');
	is_sound($node, 'the ledger is sound');
	is_sound($node, 'and the one beside it', database => 'beside', schema => 'billing');
	$node->stop;
	my ($stdin, $stdout, $stderr) = ("SELECT 'alone' AS mode\n", '', '');
	IPC::Run::run([ 'postgres', '--single', '-D', $node->data_dir, 'postgres' ], '<', \$stdin, '>', \$stdout, '2>', \$stderr)
	  or die "single-user mode: $stderr";
	like($stdout, qr/mode = "alone"/, 'single-user mode works');
	unlike($stderr, qr/launcher/, 'and starts no worker');
};

done_testing();

# Make a hold that expires at once.
sub hold
{
	my ($database, $schema, %params) = @_;
	my $timeout = $params{timeout} // '1 ms';

	$campaigns++;
	$schema //= 'public';
	$node->safe_psql($database, qq{
		SELECT $schema.credit_grant('acme', 1, 'g-$campaigns');
		SELECT $schema.credit_authorize('acme', 1, 'c-$campaigns', timeout => '$timeout')});
	return "c-$campaigns";
}

# Wait until a sweeper has been there and gone.
sub poll_absent
{
	my ($database) = @_;
	my $count = q{SELECT sum(xact_commit) FROM pg_stat_database WHERE datname = '%s'};

	$node->poll_query_until('postgres', sprintf("SELECT ($count) > 0", $database)) or die 'nobody looks';
}

# Wait until none is left that has expired.
sub settled
{
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($database, $schema) = @_;

	$schema //= 'public';
	ok($node->poll_query_until($database,
			"SELECT count(*) = 0 FROM $schema.credit_ledger WHERE status = 'authorized' AND expires_at < now()"),
		"$database is swept") or die;
}

sub settles
{
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	hold(@_);
	settled(@_);
}
