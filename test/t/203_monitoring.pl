# Goal: monitoring/ works as it stands: prometheus-postgres-exporter reads every query of it with the rights of a reader,
# every metric that an alert rule names is there with the right value, and the rules fire when they should.
#
# Method: the exporter of the distribution scrapes a server whose ledger has something of everything, and is asked for its
# metrics on the loopback interface. The rules are tested by promtool.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;
use HTTP::Tiny;
use LedgerServer;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $monitoring = "$FindBin::RealBin/../../monitoring";

command_ok([ 'promtool', 'test', 'rules', "$monitoring/alerts.test.yaml" ], 'the rules fire when they should');

my $node = new_server('monitoring', '');
$node->safe_psql(
	'postgres', q{
	CREATE EXTENSION credit_ledger;
	CREATE TABLE usage (org_id text, campaign_id text, used_at timestamptz, quantity bigint);
	SELECT credit_usage_source_register('usage', 'usage');
	SELECT credit_grant(org, 1000, 'opening') FROM unnest('{acme,globex}'::text[]) AS org;
	SELECT credit_grant('globex', 30, 'promotion', expires_at => now() + interval '3 days');
	SELECT credit_account_configure('acme', low_balance_threshold => 900), credit_account_configure('globex', low_balance_threshold => 900, frozen => true);
	SELECT credit_commit((credit_authorize('acme', 100, 'campaign')).authorization_id, 100);
	SELECT credit_authorize('acme', 50, 'orphan');
	UPDATE credit_ledger SET created_at = now() - interval '2 hours', expires_at = now() - interval '1 hour' WHERE campaign_id = 'orphan';
	INSERT INTO usage VALUES ('acme', 'campaign', now(), 160), (NULL, 'campaign', now(), 1);
	SELECT credit_run_reconciliation();
	CREATE ROLE exporter LOGIN;
	SELECT credit_grant_privileges('exporter', 'reader')});

my $port = PostgreSQL::Test::Cluster::get_free_port();
my $log = "$PostgreSQL::Test::Utils::log_path/exporter.log";
my $exporter = do {
	local $ENV{DATA_SOURCE_NAME} = sprintf 'user=exporter dbname=postgres sslmode=disable host=%s port=%s', $node->host, $node->port;
	IPC::Run::start(
		[
			'prometheus-postgres-exporter', "--web.listen-address=127.0.0.1:$port",
			"--extend.query-path=$monitoring/queries.yaml", '--disable-default-metrics', '--disable-settings-metrics'
		],
		'<', \undef, '&>', $log);
};
my $metrics = '';
foreach (1 .. 600)
{
	my $answer = HTTP::Tiny->new(timeout => 10)->get("http://127.0.0.1:$port/metrics");
	$metrics = $answer->{content} if $answer->{success};
	last if $metrics =~ /^credit_ledger/m;
	usleep(100_000);
}
$exporter->kill_kill;

my %value = $metrics =~ /^(credit_ledger_\w+(?:\{[^}]*\})?) (\S+)$/mg;
my %metric = map { s/server="[^"]*",?//r =~ s/,\}/}/r =~ s/\{\}//r => $value{$_} } keys %value;
is($metrics =~ /^pg_exporter_last_scrape_error (\S+)/m ? $1 : 'none', '0', 'every query is answered') or diag slurp_file($log);

my %expected = (
	credit_ledger_totals_accounts => 2,
	credit_ledger_totals_balance => 1930,
	credit_ledger_totals_held => 50,
	credit_ledger_totals_available => 1880,
	credit_ledger_totals_low_accounts => 1,
	credit_ledger_totals_frozen_accounts => 1,
	credit_ledger_totals_open_authorizations => 1,
	credit_ledger_totals_overdue_authorizations => 1,
	credit_ledger_totals_orphaned_authorizations => 1,
	credit_ledger_totals_open_findings => 2,
	credit_ledger_totals_expiring => 30,
	credit_ledger_totals_expiring_accounts => 1,
	'credit_ledger_expiring_credits{org_id="globex"}' => 30,
	credit_ledger_reconciliation_overdue => 0,
	'credit_ledger_findings_open{verdict="undercharged"}' => 1,
	'credit_ledger_findings_open{verdict="invalid_usage"}' => 1,
	'credit_ledger_low_balance_available{org_id="acme"}' => 850);
is($metric{$_}, $expected{$_}, $_) foreach sort keys %expected;
cmp_ok($metric{credit_ledger_totals_sweep_lag_seconds}, '>=', 3600, 'the sweep is an hour late');
cmp_ok($metric{credit_ledger_totals_sweep_lag_seconds}, '<', 7200, 'and not two');
cmp_ok($metric{credit_ledger_reconciliation_last_run_age_seconds}, '>=', 0, 'the age of the last run');

my %named = map { $_ => 1 } slurp_file("$monitoring/alerts.yaml") =~ /(credit_ledger_\w+)/g;
my %present = map { s/\{.*//r => 1 } keys %metric;
is_deeply([ grep { !$present{$_} } sort keys %named ], [], 'every metric that a rule names is there');

is_sound($node, 'the ledger is sound');
$node->stop;

done_testing();
