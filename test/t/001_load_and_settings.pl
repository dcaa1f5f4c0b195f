# Goal: without shared_preload_libraries the ledger works in every session from its first call on; each setting has
# its documented default, is taken from where PostgreSQL takes settings from, and refuses values that make no sense.
#
# Method: a server that preloads nothing. What a setting does is seen in the rows: a hold's time to live and what
# becomes of it. Then the same server with the library preloaded, for the settings of the worker.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;
use LedgerServer;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $holds = 0;
my $node = new_server('settings', '');
$node->safe_psql('postgres', 'CREATE EXTENSION credit_ledger; CREATE ROLE caller LOGIN');

subtest 'on demand' => sub {
	is($node->safe_psql('postgres', q{
			SELECT current_setting('credit_ledger.commit_timeout', true) IS NULL;
			SELECT entry_no, balance_after FROM credit_grant('acme', 100, 'g-1');
			SHOW credit_ledger.commit_timeout}),
		"t\n1|100\n10min", 'the first call of a session loads the library');
	is(time_to_live($node), '00:10:00 commit', 'defaults');
	is_deeply(
		rows($node, q{
			LOAD 'credit_ledger';
			SELECT name, current_setting(name) FROM pg_settings
			WHERE name IN ('credit_ledger.commit_timeout', 'credit_ledger.timeout_action',
						   'credit_ledger.true_up_window', 'credit_ledger.early_lock_release')
			ORDER BY name}),
		[ 'credit_ledger.commit_timeout|10min', 'credit_ledger.early_lock_release|off',
		  'credit_ledger.timeout_action|commit', 'credit_ledger.true_up_window|7d' ],
		'settings of calls and their defaults');
};

subtest 'where settings come from' => sub {
	my $session = $node->background_psql('postgres', on_error_stop => 0);
	my $ask = q{SELECT current_setting('credit_ledger.commit_timeout', true)};

	$session->query_safe(q{SELECT * FROM credit_balance('acme')});
	is($session->query_safe($ask), '10min', 'a session that has the library');

	$node->safe_psql('postgres', q{
		LOAD 'credit_ledger';
		ALTER SYSTEM SET credit_ledger.commit_timeout = '20min'});
	$node->reload;
	$node->poll_query_until('postgres', $ask, '20min') or die 'the reload does not arrive';
	is(time_to_live($node), '00:20:00 commit', 'ALTER SYSTEM and a reload reach a new session');
	for my $attempt (1 .. 10 * $PostgreSQL::Test::Utils::timeout_default)
	{
		last if $session->query_safe($ask) eq '20min';
		usleep(100_000);
	}
	is($session->query_safe($ask), '20min', 'and one that was there before');
	$session->quit;

	$node->safe_psql('postgres', q{ALTER DATABASE postgres SET credit_ledger.commit_timeout = '30min'});
	is(time_to_live($node), '00:30:00 commit', 'the database overrides the system');
	$node->safe_psql('postgres', q{
		SELECT credit_grant_privileges('caller', 'app');
		ALTER ROLE caller SET credit_ledger.commit_timeout = '40min';
		ALTER ROLE caller SET credit_ledger.timeout_action = 'revert'});
	is(time_to_live($node, role => 'caller'), '00:40:00 revert', 'the role overrides the database');
	is(time_to_live($node, role => 'caller', setting => "SET credit_ledger.commit_timeout = '50min'"),
		'00:50:00 revert', 'the session overrides the role');
	is(time_to_live($node, argument => ", timeout => '1 hour', timeout_action => 'revert'"),
		'01:00:00 revert', 'the call overrides the session');
	is(time_to_live($node, setting => "BEGIN; SET LOCAL credit_ledger.commit_timeout = '50min'; COMMIT"),
		'00:30:00 commit', 'SET LOCAL ends with its transaction');
};

subtest 'what is refused' => sub {
	foreach my $setting ("commit_timeout = '0'", "commit_timeout = '-1s'", "commit_timeout = 'soon'",
		"timeout_action = 'explode'", "true_up_window = '-1s'", "early_lock_release = 'perhaps'")
	{
		foreach my $command ('SET', 'ALTER SYSTEM SET', 'ALTER DATABASE postgres SET')
		{
			fails_with($node, '22023', "LOAD 'credit_ledger'; $command credit_ledger.$setting", "$command $setting");
		}
	}
	fails_with($node, '42602', "LOAD 'credit_ledger'; SET credit_ledger.no_such_setting = 1",
		'a setting that does not exist');
	fails_with($node, '42501', "LOAD 'credit_ledger'; SET ROLE caller; SET credit_ledger.true_up_window = '1h'",
		'what decides over money already settled, by a caller');

	# The server cannot check a value for a library that is not loaded; the library then does.
	$node->safe_psql('postgres', "ALTER DATABASE postgres SET credit_ledger.commit_timeout = 'soon'");
	my ($status, $stdout, $stderr) = $node->psql('postgres', "LOAD 'credit_ledger'; SHOW credit_ledger.commit_timeout");
	is("$status $stdout", '0 10min', 'a value stored unchecked is passed over');
	like($stderr, qr/WARNING:  invalid value for parameter "credit_ledger.commit_timeout"/, 'with a warning');
	$node->safe_psql('postgres', 'ALTER DATABASE postgres RESET credit_ledger.commit_timeout');
};

subtest 'preloaded' => sub {
	$node->append_conf('postgresql.conf', "shared_preload_libraries = 'credit_ledger'");
	$node->restart;
	is_deeply(
		rows($node, q{
			SELECT name, current_setting(name) FROM pg_settings
			WHERE name IN ('credit_ledger.sweep_interval', 'credit_ledger.worker',
						   'credit_ledger.commit_failure_threshold', 'credit_ledger.commit_failure_min_sample')
			ORDER BY name}),
		[ 'credit_ledger.commit_failure_min_sample|100', 'credit_ledger.commit_failure_threshold|0.01',
		  'credit_ledger.sweep_interval|10s', 'credit_ledger.worker|on' ],
		'settings of the worker and their defaults');
	foreach my $setting ("sweep_interval = '0'", "worker = 'perhaps'",
		'commit_failure_threshold = 1.5', 'commit_failure_threshold = -0.1', 'commit_failure_min_sample = 0')
	{
		fails_with($node, '22023', "ALTER SYSTEM SET credit_ledger.$setting", "ALTER SYSTEM SET $setting");
	}
	is(time_to_live($node), '00:20:00 commit', 'the ledger works as before');
};

# With this setting every look at a catalog is as if somebody had changed it just then.
SKIP:
{
	skip 'debug_discard_caches needs a server with assertions', 1
	  unless $node->safe_psql('postgres', 'SHOW debug_assertions') eq 'on';
	is( $node->safe_psql(
			'postgres', q{
			SET debug_discard_caches = 1;
			SET statement_timeout = '300s';
			SELECT status FROM credit_charge('acme', 1, 'discard')}),
		'committed', 'a call comes to its end when nothing that is looked up stays known');
}

is_sound($node, 'the ledger is sound');
$node->stop;
done_testing();

# The time to live of a new hold, and what becomes of it at its end.
sub time_to_live
{
	my ($node, %params) = @_;
	my $setting = $params{setting} // '';
	my $argument = $params{argument} // '';

	$holds++;
	my $id = $node->safe_psql('postgres', qq{
		$setting;
		SELECT authorization_id FROM credit_authorize('acme', 1, idempotency_key => 'hold $holds'$argument)},
		extra_params => defined $params{role} ? [ '-U', $params{role} ] : []);
	return $node->safe_psql('postgres',
		"SELECT expires_at - created_at || ' ' || timeout_action FROM credit_ledger WHERE authorization_id = '$id'");
}
