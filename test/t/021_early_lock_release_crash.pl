# Goal: what early lock release changes, and what it does not, when the server dies between the release and the flush:
# other sessions may have read a commit that is then undone; whoever wrote on top of it was not answered either, and goes
# with it; what was answered is there.
#
# Method: a session that flushes the log waits a little first, for company (commit_delay); it holds the lock on flushing
# meanwhile, and its commit can be seen. There it is stopped, so that nobody gets anything flushed. Others read the
# commit, write on top of it, for the same organisation and for others, and are not answered. Then all processes are
# killed. 002_crash.pl has the crashes under load, and 010_early_lock_release.pl shows that nobody reads anything of the
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
	my ($first, $second, $third) = map { session($_) } qw(first second third);

	stop_in_flush($first);

	call($second, q{SELECT credit_authorize('acme', 200, 'second')});
	waits_for_the_flush('second');
	call($third, q{
		BEGIN;
		SELECT credit_grant('globex', 30, 'third');
		SELECT credit_commit(authorization_id) FROM credit_ledger WHERE campaign_id = 'second';
		COMMIT});
	waits_for_the_flush('third');
	is(accounts(), "acme|800|101\nglobex|1030|0", 'everybody reads what all three wrote');
	is($node->safe_psql('postgres', q{SELECT count(*) FROM pg_stat_activity WHERE application_name IN ('first', 'second', 'third') AND state = 'active'}),
		'3', 'none of the three is answered');

	kill_server($node);
	$_->{run}->kill_kill foreach $first, $second, $third;
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

# Authorizes 100 credits and stops the backend while it waits for company, its commit to be seen and not yet flushed. If
# we come too late, the hold is given back, and the next attempt is made.
sub stop_in_flush
{
	my ($session) = @_;
	my $backend = $session->query_safe('SELECT pg_backend_pid()');

	for (1 .. 100)
	{
		$attempt++;
		call($session, "SELECT credit_authorize('acme', 100, 'first-$attempt')");
		$node->poll_query_until('postgres', q{SELECT held = 101 FROM credit_balance('acme')}) or die 'nothing is held';
		kill 'STOP', $backend;
		return if $node->safe_psql('postgres', 'SELECT pg_current_wal_flush_lsn() < pg_current_wal_insert_lsn()') eq 't';
		kill 'CONT', $backend;
		$session->query_until(qr/answered/, '');
		$session->query_safe("SELECT credit_revert(authorization_id) FROM credit_ledger_open WHERE campaign_id = 'first-$attempt'");
	}
	die 'the flush is always done already';
}

sub waits_for_the_flush
{
	my ($name) = @_;

	$node->poll_query_until('postgres',
		"SELECT wait_event LIKE 'WALWrite%' FROM pg_stat_activity WHERE application_name = '$name'")
	  or die "the $name session does not wait for the flush";
}

sub accounts
{
	return $node->safe_psql('postgres', q{SELECT org_id, balance, held FROM credit_account ORDER BY org_id});
}
