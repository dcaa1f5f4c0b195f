# Goal: ledger calls take part in two-phase commit: what is prepared is not there yet, keeps its organisation locked and
# nobody else's, survives a crash, and is then there entirely or not at all.
#
# Method: transactions with calls of every kind are prepared, the server is crashed, and they are committed or rolled
# back from another session; with and without early lock release.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;
use LedgerServer;
use PostgreSQL::Test::Cluster;
use Test::More;

my $node = new_server('two_phase', "max_prepared_transactions = 10\n");

$node->safe_psql('postgres', 'CREATE EXTENSION credit_ledger');
foreach my $early_lock_release (qw(off on))
{
	$node->safe_psql('postgres',
		"ALTER DATABASE postgres SET credit_ledger.early_lock_release = $early_lock_release");
	subtest "early_lock_release = $early_lock_release" => sub {
		two_phase("$early_lock_release-");
	};
}
$node->stop;
done_testing();

# The organisations' names and all keys begin with the label.
sub two_phase
{
	my ($label) = @_;
	my ($kept, $dropped, $other) = map { "$label$_" } qw(kept dropped other);
	my $authorizations = q{SELECT campaign_id, status, amount FROM credit_ledger WHERE org_id = '%s' ORDER BY campaign_id};

	$node->safe_psql('postgres',
		qq{SELECT credit_grant(org, 100, 'g-1') FROM unnest('{$kept,$dropped,$other}'::text[]) org});
	foreach my $org ($kept, $dropped)
	{
		$node->safe_psql(
			'postgres', qq{
			SELECT authorization_id AS before FROM credit_authorize('$org', 20, 'before') \\gset
			BEGIN;
			SELECT authorization_id AS charged FROM credit_authorize('$org', 10, 'charged') \\gset
			SELECT credit_authorize('$org', 5, 'open');
			SELECT credit_commit(:'charged', 8);
			SELECT credit_revert(:'before');
			SELECT credit_grant('$org', 1, 'g-2');
			PREPARE TRANSACTION '$org'});
	}

	is($node->safe_psql('postgres', qq{SELECT balance, held FROM credit_balance('$kept')}),
		'100|20', 'what is prepared is not there yet');
	is($node->safe_psql('postgres', qq{SELECT available FROM credit_authorize('$other', 1, 'while prepared')}),
		'99', 'other organisations go on');
	fails_with($node, '55P03', qq{SET lock_timeout = '10ms'; SELECT credit_authorize('$kept', 1, 'while prepared')},
		'the same organisation');

	$node->stop('immediate');
	$node->start;
	fails_with($node, '55P03', qq{SET lock_timeout = '10ms'; SELECT credit_authorize('$kept', 1, 'while prepared')},
		'the same organisation after a crash');
	is_deeply(
		rows($node, qq{
			SELECT credit_sweep(now() + interval '1 day') \\g /dev/null
			SELECT org_id, status FROM credit_ledger WHERE org_id ~ '^$label' ORDER BY org_id}),
		[ "$dropped|authorized", "$kept|authorized", "$other|committed" ],
		'the sweep passes them over');

	$node->safe_psql('postgres', qq{COMMIT PREPARED '$kept'; ROLLBACK PREPARED '$dropped'});
	is_deeply(
		rows($node, sprintf($authorizations, $kept)),
		[ 'before|reverted|20', 'charged|committed|8', 'open|authorized|5' ],
		'committed: everything is there');
	is_deeply(
		rows($node, sprintf($authorizations, $dropped)),
		['before|authorized|20'],
		'rolled back: nothing is there');
	is($node->safe_psql('postgres', qq{
			SELECT available, replayed FROM credit_authorize('$kept', 5, 'open');
			SELECT available, replayed FROM credit_authorize('$dropped', 5, 'open');
			SELECT entry_no, balance_after, replayed FROM credit_grant('$kept', 1, 'g-2');
			SELECT entry_no, balance_after, replayed FROM credit_grant('$dropped', 1, 'g-2')}),
		"88|t\n75|f\n3|93|t\n2|101|f", 'keys replay, or are free again');
	is_sound($node, 'the ledger is sound');
}
