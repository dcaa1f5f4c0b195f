# Goal: the nightly reconciliation is pg_cron's: it is scheduled once however often that is asked for, it really runs, it
# finds what is wrong, and that it failed or stopped shows as overdue. Where pg_cron lives in another database, the
# error says what to call there, and that works.
#
# Method: a server with pg_cron loaded, whose jobs run every minute, the shortest schedule there is for every version;
# the test polls for the runs of two databases at once. Time for what is overdue enters as a parameter.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;
use LedgerServer;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('cron', q{
	shared_preload_libraries = 'pg_cron'
	cron.database_name = 'postgres'
	cron.use_background_workers = on
	credit_ledger.reconciliation_overdue_after = 2h
	max_worker_processes = 20
});

foreach my $database ('postgres', 'other')
{
	$node->safe_psql('postgres', 'CREATE DATABASE other') if $database eq 'other';
	$node->safe_psql(
		$database, q{
		CREATE EXTENSION credit_ledger;
		CREATE TABLE usage (org_id text, campaign_id text, used_at timestamptz, quantity bigint);
		SELECT credit_usage_source_register('usage', 'usage');
		SELECT credit_grant('acme', 1000, 'opening');
		SELECT credit_commit((credit_authorize('acme', 100, 'campaign')).authorization_id, 100);
		INSERT INTO usage VALUES ('acme', 'campaign', now(), 160)});
}

# pg_cron is not there yet, and in the other database it never will be.
fails_with($node, '55000', 'SELECT credit_schedule_jobs()', 'without pg_cron');
is($node->safe_psql('postgres', 'SELECT credit_unschedule_jobs()'), '0', 'without pg_cron, nothing is unscheduled');
my (undef, undef, $stderr) = $node->psql('other', q{SELECT credit_schedule_jobs('* * * * *')});
like($stderr, qr/ERROR:  pg_cron is not installed in database "other"/, 'in the other database: an error');
like($stderr, qr/HINT:  .*cron\.schedule_in_database\(.*\);/, 'whose hint names what to call');
my ($hinted) = $stderr =~ /(SELECT cron\.schedule_in_database\(.*\);)/;
is(() = $hinted =~ /schedule_in_database/g, 2, 'for both jobs');

# Scheduled by name, again and again without a duplicate, also by another operator.
$node->safe_psql('postgres', q{
	CREATE EXTENSION pg_cron;
	CREATE ROLE operator SUPERUSER LOGIN;
	SELECT credit_schedule_jobs();
	SET ROLE operator;
	SELECT credit_schedule_jobs('30 2 * * *', 100, '0 0 1 * *');
	RESET ROLE;
	SELECT credit_schedule_jobs('* * * * *', 20)});
$node->safe_psql('postgres', $hinted) foreach 1 .. 2;
is_deeply(
	rows($node, q{SELECT jobname, schedule, command, database FROM cron.job ORDER BY jobname}),
	[
		'credit_ledger_reconcile@other|* * * * *|SELECT public.credit_run_reconciliation(tolerance => 10)|other',
		'credit_ledger_reconcile@postgres|* * * * *|SELECT public.credit_run_reconciliation(tolerance => 20)|postgres',
		q{credit_ledger_reconcile_all@other|0 5 * * 0|SELECT public.credit_run_reconciliation(since => '-infinity', tolerance => 10)|other},
		q{credit_ledger_reconcile_all@postgres|0 5 * * 0|SELECT public.credit_run_reconciliation(since => '-infinity', tolerance => 20)|postgres}
	],
	'each database has one job for every night and one for every week');
fails_with($node, '22004', 'SELECT credit_schedule_jobs(NULL)', 'no schedule');
fails_with($node, '22004', 'SELECT credit_schedule_jobs(tolerance => NULL)', 'no tolerance');
fails_with($node, '22023', 'SELECT credit_schedule_jobs(tolerance => -1)', 'a tolerance below zero');
is($node->safe_psql('postgres', 'SELECT count(*) FROM cron.job'), '4', 'what was refused changed nothing');

# They run, and find what is wrong.
foreach my $database ('postgres', 'other')
{
	ok($node->poll_query_until($database, 'SELECT count(*) > 0 FROM credit_reconciliation_run'), "the job ran in $database");
	is($node->safe_psql($database, 'SELECT verdict, campaign_id, used, difference FROM credit_finding'),
		'undercharged|campaign|160|-60', "and found what is wrong in $database");
	is($node->safe_psql($database, q{SELECT kind, org_id FROM credit_alert WHERE closed_at IS NULL}),
		'reconciliation_mismatch|acme', "and raised the alert in $database");
}

# A job that fails leaves no run behind. From then on time passes without a run, and it is overdue.
$node->safe_psql('postgres', 'DROP TABLE usage; DELETE FROM cron.job_run_details');
ok($node->poll_query_until('postgres', q{SELECT count(*) > 0 FROM cron.job_run_details WHERE status = 'failed'}), 'the job fails');
like($node->safe_psql('postgres', q{SELECT return_message FROM cron.job_run_details WHERE status = 'failed' LIMIT 1}),
	qr/usage source "usage" has vanished/, 'for the reason that it should');
is($node->safe_psql('postgres', q{
	SELECT overdue, overdue_at = last_run_at + interval '2 hours' FROM credit_reconciliation_health()}), 'f|t', 'not yet overdue');
is($node->safe_psql('postgres', q{
	SELECT overdue FROM credit_reconciliation_health(now() + interval '3 hours')}), 't', 'in three hours it is');
is($node->safe_psql('postgres', q{
	SELECT credit_check_reconciliation(now() + interval '3 hours');
	SELECT kind FROM credit_alert WHERE closed_at IS NULL AND org_id IS NULL}), "t\nreconciliation_overdue", 'and alerted');

# The same in credit_health(), and by what the worker calls: the last run is put back by three hours.
is($node->safe_psql('postgres', q{
	SELECT credit_maintain();
	SELECT status FROM credit_health() WHERE check_name = 'reconciliation';
	SELECT count(*) FROM credit_alert WHERE kind = 'reconciliation_overdue' AND closed_at IS NULL}),
	"\nwarning\n0", 'in time, with a finding: a warning');
is($node->safe_psql('postgres', q{
	UPDATE credit_reconciliation_run SET finished_at = finished_at - interval '3 hours';
	SELECT credit_maintain();
	SELECT status, detail FROM credit_health() WHERE check_name = 'reconciliation';
	SELECT count(*) FROM credit_alert WHERE kind = 'reconciliation_overdue' AND closed_at IS NULL}),
	"\ncritical|overdue; open findings: 1, the newest of organisation \"acme\": undercharged\n1", 'overdue: critical, and alerted');

is($node->safe_psql('postgres', 'SELECT credit_unschedule_jobs(), credit_unschedule_jobs()'), '2|0', 'unscheduled');
is($node->safe_psql('postgres', 'SELECT DISTINCT database FROM cron.job'), 'other', "the other database's jobs stay");
is($node->safe_psql('postgres', q{
	UPDATE cron.job SET database = 'former';
	SELECT credit_unschedule_jobs();
	SELECT count(*) FROM cron.job}), "2\n0", 'but not those of one that has another name by now');
is_sound($node, 'the ledger is sound');
$node->stop;

done_testing();
