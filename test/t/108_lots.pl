# Goal: lots follow the clock on the wall. The worker posts what they lost at their end, to the microsecond, of accounts
# that nobody calls; a standby subtracts by its own clock and writes nothing; a clock that is set back gives nothing back;
# the notice follows its setting; a dump carries lots.
#
# Method: a primary and a standby, each under a clock of its own (clock.c), which is moved by days.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;
use LedgerServer;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $clock = PostgreSQL::Test::Utils::tempdir . '/clock';
my $clock_of_standby = PostgreSQL::Test::Utils::tempdir . '/clock_of_standby';
my $primary = PostgreSQL::Test::Cluster->new('primary');
$primary->init(allows_streaming => 1);
$primary->append_conf('postgresql.conf', q{
	shared_preload_libraries = 'credit_ledger'
	credit_ledger.sweep_interval = '200ms'
	credit_ledger.worker = off
});
set_clock($clock, '+0');
start_under_clock($primary, $clock);
$primary->safe_psql('postgres', q{CREATE EXTENSION credit_ledger});
$primary->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
set_clock($clock_of_standby, '+0');
start_under_clock($standby, $clock_of_standby);

$primary->safe_psql('postgres', q{
	SELECT credit_grant('acme', 100, 'plan', expires_at => now() + interval '10 days'), credit_grant('acme', 50, 'invoice');
	SELECT credit_authorize('acme', 60, 'campaign', timeout => '100 days');
	SELECT credit_grant('globex', 30, 'plan', expires_at => now() + interval '30 days')});
$primary->wait_for_catchup($standby);

my $balance = q{SELECT balance, held, available FROM credit_balance('acme')};
my %readings = (
	balance => $balance,
	overview => q{SELECT balance, held, available FROM credit_account_overview WHERE org_id = 'acme'},
	lots => q{SELECT string_agg(concat_ws(':', coalesce(lot_no, 0), remaining, held, free), ' ') FROM credit_lots('acme')},
	'balance at' => q{SELECT credit_balance_at('acme', now())},
	'last line' => q{SELECT kind, amount, balance_after FROM credit_statement('acme') ORDER BY entry_no DESC LIMIT 1},
	expiries => q{SELECT lot_no, amount FROM credit_lot_movement WHERE org_id = 'acme' AND kind = 'expiry'});
my %before = (
	balance => '150|60|90', overview => '150|60|90', lots => '1:100:60:40 0:50:0:50', 'balance at' => 150,
	'last line' => 'grant|50|150', expiries => '');
my %after = (
	balance => '110|60|50', overview => '110|60|50', lots => '1:60:60:0 0:50:0:50', 'balance at' => 110,
	'last line' => 'expiry|-40|110', expiries => '1|-40');

subtest 'a standby goes by its own clock' => sub {
	reads($standby, \%before, 'before the end');
	set_clock($clock_of_standby, '+11d');
	reads($standby, \%after, 'after it');
	reads($primary, \%before, 'on the primary, whose clock is not there yet');
	is($standby->safe_psql('postgres', q{SELECT count(*) FROM credit_entry WHERE org_id = 'acme'}), '2', 'nothing was written');
	is_sound($standby, 'and nothing is wrong with that');
};

subtest 'the worker posts it' => sub {
	set_clock($clock, '+11d');
	reads($primary, \%after, 'before it came by');
	is($primary->safe_psql('postgres', q{SELECT status FROM credit_health() WHERE check_name = 'oldest_ended_lot'}), 'critical',
		'health tells that nobody comes');
	set_worker($primary, 'on');
	ok($primary->poll_query_until('postgres', q{
			SELECT effective_at = (SELECT expires_at FROM credit_lot WHERE org_id = 'acme') FROM credit_entry
			WHERE org_id = 'acme' AND kind = 'expiry'}),
		'dated to the end of the lot') or die;
	reads($primary, \%after, 'after it came by');
	is($primary->safe_psql('postgres', q{SELECT status, detail FROM credit_health() WHERE check_name = 'oldest_ended_lot'}), 'ok|none',
		'health is well');
};

subtest 'the clock goes back' => sub {
	set_clock($clock, '+0');
	is($primary->safe_psql('postgres', $balance), $after{balance}, 'nothing comes back');
	is($primary->safe_psql('postgres', q{SELECT available FROM credit_revert((SELECT authorization_id FROM credit_ledger))}), 110,
		'but what is released goes into a lot that is not over now');
	set_clock($clock, '+11d');
	ok($primary->poll_query_until('postgres', q{SELECT balance = 50 FROM credit_account WHERE org_id = 'acme'}), 'and leaves at its end');
	is_sound($primary, 'the ledger is sound');
};

# The worker would open and close alerts in between.
set_worker($primary, 'off');

subtest 'the notice' => sub {
	my $alerts = q{
		SELECT credit_maintain() \g /dev/null
		SELECT org_id, details -> 'credits', closed_at IS NULL FROM credit_alert WHERE kind = 'credits_expiring' ORDER BY opened_at};
	is($primary->safe_psql('postgres', $alerts), '', 'none three weeks before the end');
	set_notice('20d');
	is($primary->safe_psql('postgres', $alerts), 'globex|30|t', 'with a notice of twenty days, one');
	is($primary->safe_psql('postgres', 'SELECT expiring, expiring_accounts FROM credit_totals'), '30|1', 'views follow');
	set_notice('0');
	is($primary->safe_psql('postgres', $alerts), 'globex|30|f', 'without notice, none');
	is($primary->safe_psql('postgres', 'SELECT expiring, expiring_accounts FROM credit_totals'), '0|0', 'views follow');
	set_notice('7d');
	set_clock($clock, '+24d');
	is($primary->safe_psql('postgres', $alerts), "globex|30|f\nglobex|30|t", 'in the last week, one');
};

subtest 'dump and restore' => sub {
	my $dump = PostgreSQL::Test::Utils::tempdir . '/dump.sql';
	my $lots = q{SELECT * FROM credit_lot ORDER BY org_id, lot_no};

	$primary->safe_psql('postgres', q{SELECT credit_authorize('globex', 10, 'campaign', timeout => '100 days')});
	$primary->command_ok([ 'pg_dump', '-f', $dump, '-d', $primary->connstr('postgres') ], 'dumped');
	$primary->safe_psql('postgres', 'CREATE DATABASE copy');
	$primary->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', $dump, '-d', $primary->connstr('copy') ], 'restored');
	is($primary->safe_psql('copy', $lots), $primary->safe_psql('postgres', $lots), 'the same lots');
	is($primary->safe_psql('copy', q{SELECT amount, available FROM credit_commit((SELECT authorization_id FROM credit_ledger_open))}),
		'10|20', 'which are charged as before');
	is_sound($primary, 'the copy is sound', database => 'copy');
};

$standby->stop;
$primary->stop;
done_testing();

sub reads
{
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($node, $expected, $name) = @_;

	is($node->safe_psql('postgres', $readings{$_}), $expected->{$_}, "$_, $name") foreach sort keys %readings;
}

sub set_notice
{
	my ($notice) = @_;

	$primary->append_conf('postgresql.conf', "credit_ledger.expiry_notice = '$notice'\n");
	$primary->reload;
	$primary->poll_query_until('postgres', q{SELECT current_setting('credit_ledger.expiry_notice')}, $notice) or die;
}
