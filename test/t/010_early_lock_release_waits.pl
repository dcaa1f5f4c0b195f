# Goal: with early lock release a transaction lets the next one of its organisation go on before its commit is safe, but
# answers only then; without it, it does neither.
#
# Method: a server that waits for a synchronous standby which does not exist, so a commit stands still for as long as we
# look at it. Two sessions call for the same organisation; pg_stat_activity tells what each waits for.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;
use LedgerServer;
use PostgreSQL::Test::Cluster;
use Test::More;

my $node = new_server('early_lock_release', '', allows_streaming => 1);

$node->safe_psql(
	'postgres', q{
	CREATE EXTENSION credit_ledger;
	SELECT credit_grant('acme', 100, 'g-1')});

subtest 'off' => sub {
	my ($first, $second) = call_without_standby('off');

	is(waits_for('first'), 'IPC SyncRep', 'the first waits for the standby');
	is(waits_for('second'), 'Lock transactionid', 'the second for the first');
	is($node->safe_psql('postgres', q{SELECT held FROM credit_balance('acme')}), '0', 'neither is to be seen');
	end_calls($first, $second);
};

subtest 'on' => sub {
	my ($first, $second) = call_without_standby('on');

	is(waits_for('first'), 'IPC SyncRep', 'the first waits for the standby');
	is(waits_for('second'), 'IPC SyncRep', 'the second too');
	is($node->safe_psql('postgres', q{SELECT held FROM credit_balance('acme')}), '40', 'both are to be seen');
	end_calls($first, $second);
};

is_sound($node, 'the ledger is sound');
$node->stop;
done_testing();

# Two sessions that authorize 20 credits each for one organisation while no standby is there; the first commits.
sub call_without_standby
{
	my ($early_lock_release) = @_;
	my @sessions = map { $node->background_psql('postgres', on_error_stop => 0) } 1 .. 2;

	set_synchronous_standby($node, 'nobody');
	foreach my $name (qw(first second))
	{
		my $session = $sessions[ $name eq 'first' ? 0 : 1 ];

		$session->query_safe("SET application_name = '$name'; SET credit_ledger.early_lock_release = $early_lock_release");
		$session->query_until(qr/called/,
			"\\echo called\nSELECT credit_authorize('acme', 20, '$early_lock_release $name');\n\\echo answered\n");
		$node->poll_query_until('postgres',
			"SELECT wait_event IN ('SyncRep', 'transactionid') FROM pg_stat_activity WHERE application_name = '$name'")
		  or die "the $name session waits for nothing";
	}
	return @sessions;
}

sub waits_for
{
	my ($name) = @_;

	return $node->safe_psql('postgres',
		"SELECT wait_event_type || ' ' || wait_event FROM pg_stat_activity WHERE application_name = '$name'");
}

# Nobody waits for a standby any more, so both are answered.
sub end_calls
{
	my (@sessions) = @_;

	set_synchronous_standby($node, '');
	foreach my $session (@sessions)
	{
		like($session->query_until(qr/answered/, ''), qr/answered/, 'answered');
		$session->quit;
	}
	is($node->safe_psql('postgres', q{
			SELECT count(*) FROM credit_ledger_open, credit_revert(authorization_id) WHERE credit_ledger_open.org_id = 'acme'}),
		'2', 'both are there');
}
