# Goal: what early lock release changes, and what it does not, when the server dies between the release and the flush:
# other sessions may have read a commit that is then undone; whoever wrote on top of it was not answered either, and goes
# with it; what was answered is there.
#
# Method: a session that flushes the log waits a little first, for company (commit_delay); it holds the lock on flushing
# meanwhile, and its commit can be seen. There it is stopped, so that nobody gets anything flushed. Others read the
# commit, write on top of it, for the same organisation and for others, and are not answered. Then all processes are
# killed. 002_crash.pl has the crashes under load, and 010_early_lock_release_waits.pl shows that nobody reads anything of the
# kind without early lock release.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;
use LedgerServer;
use PostgreSQL::Test::Cluster;
use Test::More;

my $node = new_server(
	'early_lock_release_crash', q{
	fsync = on
	autovacuum = off
	commit_delay = 100000
	commit_siblings = 0
});

$node->safe_psql(
	'postgres', q{
	CREATE EXTENSION credit_ledger;
	SELECT credit_grant(org, 1000, 'opening') FROM unnest('{acme,globex}'::text[]) AS org;
	SELECT credit_authorize('acme', 1, 'answered before')});

my $attempt = 0;
for my $round (1 .. 3)
{
	subtest "round $round" => \&die_between;
}
is_sound($node, 'the ledger is sound');
indexes_are_sound($node, 'every index has every row');
$node->stop;
done_testing();

sub die_between
{
	my ($first, $second, $third, $watcher) = map { session($_) } qw(first second third watcher);

	stop_in_flush($first, $second, $watcher);

	call($third, qq{
		BEGIN;
		SELECT credit_grant('globex', 30, 'third');
		SELECT credit_commit(authorization_id) FROM credit_ledger WHERE campaign_id = 'second-$attempt';
		COMMIT});
	waits_for_the_flush('third', 'COMMIT') or die 'the third session does not wait for the flush';
	is(accounts(), "acme|800|101\nglobex|1030|0", 'everybody reads what all three wrote');
	is($node->safe_psql('postgres', q{SELECT count(*) FROM pg_stat_activity WHERE application_name IN ('first', 'second', 'third') AND state = 'active'}),
		'3', 'none of the three is answered');

	kill_server($node);
	$_->{run}->kill_kill foreach $first, $second, $third, $watcher;
	is(accounts(), "acme|1000|1\nglobex|1000|0", 'it is as if none of them had called');
	is($node->safe_psql('postgres', q{SELECT replayed FROM credit_authorize('acme', 1, 'answered before')}),
		't', 'what was answered is there');
	is_sound($node, 'the ledger is sound');
}

sub session
{
	my ($name) = @_;
	my $session = $node->background_psql('postgres', on_error_stop => 0);

	$session->query_safe("SET application_name = '$name'; SET credit_ledger.early_lock_release = on");
	return $session;
}

sub call
{
	my ($session, $sql) = @_;

	$session->query_until(qr/called/, "\\echo called\n$sql;\n\\echo answered\n");
}

# Has the first session authorize 100 credits, and its backend stopped while it waits for company, its commit to be seen
# and not yet flushed: by another session, which is quick enough even where the machine is busy. Then the second, which
# authorizes 200, waits for the lock that the first one holds. If that one was stopped too early or too late, the second is
# answered: the holds are given back, and the next attempt is made.
sub stop_in_flush
{
	my ($first, $second, $watcher) = @_;
	my $backend = $first->query_safe('SELECT pg_backend_pid()');

	for (1 .. 100)
	{
		$attempt++;
		call($watcher, qq{
			DO \$\$
			BEGIN
				WHILE (SELECT held <> 101 FROM credit_account WHERE org_id = 'acme') LOOP
				END LOOP;
				COPY (SELECT) TO PROGRAM 'kill -STOP $backend';
			END
			\$\$});
		call($first, "SELECT credit_authorize('acme', 100, 'first-$attempt')");
		$watcher->query_until(qr/answered/, '');
		call($second, "SELECT credit_authorize('acme', 200, 'second-$attempt')");
		return if waits_for_the_flush('second', "second-$attempt");
		kill 'CONT', $backend;
		$_->query_until(qr/answered/, '') foreach $first, $second;
		$first->query_safe("SELECT credit_revert(authorization_id) FROM credit_ledger_open WHERE campaign_id LIKE '%-$attempt'");
	}
	die 'the flush is always done already';
}

# Whether a session with such a statement waits for the flush, and not for its next one.
sub waits_for_the_flush
{
	my ($name, $statement) = @_;
	my $session = "FROM pg_stat_activity WHERE application_name = '$name'";

	$node->poll_query_until(
		'postgres', qq{
		SELECT query LIKE '%$statement%' AND (state = 'idle' OR wait_event_type = 'LWLock' AND wait_event LIKE 'WALWrite%')
		$session}) or die "the $name session neither waits for the flush nor is answered";
	return $node->safe_psql('postgres', "SELECT state $session") eq 'active';
}

sub accounts
{
	return $node->safe_psql('postgres', q{SELECT org_id, balance, held FROM credit_account ORDER BY org_id});
}
