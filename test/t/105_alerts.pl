# Goal: an alert is raised once when it begins, closed when it is over with some distance, with a warning in the log and
# a notification; failing commits, late settlement, low balance. Old counts and alerts are removed.
#
# Method: a known number of commits that fail and succeed, around the threshold, its half and the minimum sample; the
# worker judges within its interval. A session listens.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;
use LedgerServer;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $commits = 0;
my $failures = 0;
my $campaigns = 0;
my $node = new_server(
	'alerts', q{
	shared_preload_libraries = 'credit_ledger'
	credit_ledger.sweep_interval = '200ms'
	credit_ledger.commit_failure_min_sample = 50
	credit_ledger.commit_failure_threshold = 0.1
});
$node->safe_psql('postgres', q{CREATE EXTENSION credit_ledger; SELECT credit_grant('acme', 1000000, 'first')});

my $listener = $node->background_psql('postgres');
$listener->query_safe('LISTEN credit_ledger_alert');

subtest 'commit failure rate' => sub {
	fail_commits(10);
	judged();
	is(alerts(), '', 'no alert below the minimum sample');
	make_commits(40);
	judged();
	is(alerts(), 'commit_failure_rate||open|10 of 50 commits failed in the last hour', 'raised when the sample is large enough');
	fail_commits(10);
	judged();
	is(alerts(), 'commit_failure_rate||open|10 of 50 commits failed in the last hour', 'once');

	# 20 of 220 is below the threshold, 20 of 399 still above its half.
	make_commits(160);
	judged();
	like(alerts(), qr/open/, 'still open below the threshold');
	make_commits(179);
	judged();
	like(alerts(), qr/open/, 'and just above its half');
	make_commits(1);
	judged();
	is(alerts(), 'commit_failure_rate||closed|10 of 50 commits failed in the last hour', 'over at its half');
	fail_commits(10);
	judged();
	like(alerts(), qr/^[^\n]*closed[^\n]*$/, 'not raised again on the way up');
	fail_commits(20);
	judged();
	like(alerts(), qr/closed.*\n.*open\|50 of 430 commits/, 'but above the threshold');

	my $log = slurp_file($node->logfile);
	my $warnings = () = $log =~ /WARNING:  credit alert "commit_failure_rate": /g;
	is($warnings, 2, 'a warning for each in the log');
	like($log, qr/LOG:  credit alert "commit_failure_rate" is over: 10 of 50 commits failed/, 'and a line when it is over');
};

subtest 'notification' => sub {
	my @payloads = heard($listener, 'credit_ledger_alert', 3);
	is(scalar @payloads, 3, 'opened, closed, opened');
	is($node->safe_psql('postgres', qq{
			SELECT p->>'event', p->>'kind', p->>'org_id', p->>'message', p->'details'->'attempts', (p->>'at')::timestamptz <= now()
			FROM (SELECT \$p\$$payloads[0]\$p\$::json AS p) n}),
		'opened|commit_failure_rate||10 of 50 commits failed in the last hour|50|t', 'the payload is JSON');
};

subtest 'a payload that is too long' => sub {
	$node->safe_psql('postgres', q{
		SELECT credit_ledger_internal.alert_open('sweep_lag', repeat(E'\\x01', 256), 'details', jsonb_build_object('list', repeat('x', 9000)));
		SELECT credit_ledger_internal.alert_open('sweep_lag', repeat(E'"\\\\', 128), repeat(E'\\x02', 9000));
		SELECT credit_ledger_internal.alert_open('sweep_lag', 'umlauts', repeat('ä', 9000))});
	my @payloads = heard($listener, 'credit_ledger_alert', 3);
	is(scalar @payloads, 3, 'is told nevertheless');
	my @told = map { $node->safe_psql('postgres', qq{
			SELECT octet_length(p->>'org_id'), length(p->>'message'), p->'details' FROM (SELECT \$p\$$_\$p\$::json AS p) n}) } @payloads;
	is_deeply(\@told, [ '256|7|', '256|1000|', '7|1000|' ], 'as JSON without details, and if need be with the beginning of its message');
	$node->safe_psql('postgres', q{DELETE FROM credit_alert WHERE kind = 'sweep_lag'});
};

subtest 'low balance' => sub {
	$node->safe_psql('postgres', q{
		SELECT credit_grant('small', 100, 'first');
		SELECT credit_account_configure('small', low_balance_threshold => 50);
		SELECT credit_authorize('small', 60, 'c')});
	is($node->safe_psql('postgres', q{SELECT org_id, message FROM credit_alert WHERE kind = 'low_balance'}),
		'small|organisation "small" has 40 credits available, less than 50', 'at the moment it is crossed');
	like((heard($listener, 'credit_ledger_alert', 1))[0], qr/"low_balance".*"small"/, 'with a notification');
};

subtest 'late settlement' => sub {
	$node->append_conf('postgresql.conf', "credit_ledger.sweep_lag_threshold = '1s'\n");
	$node->reload;
	my $session = $node->background_psql('postgres');
	$session->query_safe(q{BEGIN; SELECT credit_account_configure('small')});
	$node->safe_psql('postgres', q{UPDATE credit_ledger SET expires_at = now() - interval '1 minute' WHERE org_id = 'small'});
	ok($node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM credit_alert WHERE kind = 'sweep_lag' AND closed_at IS NULL}),
		'raised while a hold cannot be settled');
	is($node->safe_psql('postgres', q{SELECT status FROM credit_health() WHERE check_name = 'oldest_expired_hold'}), 'critical',
		'health tells');
	$session->query_safe('COMMIT');
	$session->quit;
	ok($node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM credit_alert WHERE kind = 'sweep_lag' AND closed_at IS NOT NULL}),
		'over when it is settled');
};

subtest 'old counts and closed alerts are removed' => sub {
	$node->safe_psql('postgres', q{
		INSERT INTO credit_stat VALUES (now() - interval '91 days', 'grant', '00000', 1), (now() - interval '89 days', 'grant', '00000', 2);
		UPDATE credit_alert SET closed_at = now() - interval '91 days' WHERE kind = 'sweep_lag';
		UPDATE credit_alert SET opened_at = now() - interval '91 days' WHERE closed_at IS NULL;
		SELECT credit_maintain()});
	is($node->safe_psql('postgres', q{SELECT count FROM credit_stat WHERE minute < now() - interval '1 day'}), '2', 'counts after 90 days');
	is($node->safe_psql('postgres', q{SELECT count(*) FILTER (WHERE kind = 'sweep_lag'), count(*) FILTER (WHERE closed_at IS NULL) > 0 FROM credit_alert}),
		'0|t', 'closed alerts too; open ones stay');
};

is_sound($node, 'the ledger is sound');
$listener->quit;
$node->stop;
done_testing();

sub make_commits
{
	my ($count) = @_;

	$commits += $count;
	$campaigns++;
	$node->safe_psql('postgres', qq{
		SELECT credit_authorize('acme', 1, 'c-$campaigns-' || i) FROM generate_series(1, $count) i;
		SELECT credit_commit(authorization_id) FROM credit_ledger WHERE status = 'authorized' AND org_id = 'acme'});
}

# Failures count at once, one by one; the lock has the worker drain them together.
sub fail_commits
{
	my ($count) = @_;

	$failures += $count;
	$node->safe_psql('postgres', qq{
		DO \$\$
		BEGIN
		  LOCK TABLE credit_stat IN EXCLUSIVE MODE;
		  FOR i IN 1 .. $count LOOP
		    BEGIN
		      PERFORM credit_commit('auth-nothing');
		    EXCEPTION WHEN SQLSTATE 'LC003' THEN NULL;
		    END;
		  END LOOP;
		END \$\$});
}

# Wait until the worker has drained all counts; it judges in the same transaction.
sub judged
{
	$node->poll_query_until('postgres', 'SELECT attempts, failures FROM credit_commit_failure_rate()',
		($commits + $failures) . "|$failures") or die 'the counts do not arrive';
}

sub alerts
{
	return $node->safe_psql('postgres', q{
		SELECT kind, org_id, CASE WHEN closed_at IS NULL THEN 'open' ELSE 'closed' END, message
		FROM credit_alert ORDER BY opened_at});
}
