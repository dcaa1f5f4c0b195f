# Goal: a physical standby answers what only reads, refuses what writes, and after its promotion it is the ledger: what
# was held is settled there, keys replay, entries are numbered on.
#
# Method: a standby from a base backup, caught up with a primary that has open and settled authorizations. Each function
# is called on it; then the primary is stopped, the standby promoted, and the work goes on.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;
use LedgerServer;
use PostgreSQL::Test::Cluster;
use Test::More;

my $settings = "shared_preload_libraries = 'credit_ledger'\n";
my $primary = new_server('primary', $settings, allows_streaming => 1);

$primary->safe_psql(
	'postgres', q{
	CREATE EXTENSION credit_ledger;
	CREATE TABLE held (name text PRIMARY KEY, id text);
	SELECT credit_grant('acme', 1000, 'g-1')});
$primary->backup('base');

my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
$standby->start;

$primary->safe_psql(
	'postgres', q{
	INSERT INTO held
	  SELECT name, (credit_authorize('acme', 100, campaign_id => name)).authorization_id
	  FROM unnest('{charged,given back,expired,in parts,still open,open to the end}'::text[]) AS name;
	SELECT credit_commit(id, 60) FROM held WHERE name = 'charged';
	SELECT credit_revert(id) FROM held WHERE name = 'given back';
	SELECT credit_adjust('acme', -40, 'a-1', 'a correction');
	SELECT credit_commit(id, 30, final => false) FROM held WHERE name = 'in parts'});
$primary->wait_for_catchup($standby);

my @readings = (
	q{SELECT * FROM credit_balance('acme')},
	q{SELECT * FROM credit_statement('acme')},
	q{SELECT credit_balance_at('acme', 'infinity')},
	q{SELECT * FROM credit_ledger ORDER BY authorization_id},
	q{SELECT * FROM credit_idempotency ORDER BY operation, idempotency_key});
foreach my $reading (@readings)
{
	is($standby->safe_psql('postgres', $reading), $primary->safe_psql('postgres', $reading), "same answer: $reading");
}
is($standby->safe_psql('postgres', q{SELECT balance, held, available FROM credit_balance('acme')}),
	'870|370|500', 'the standby knows the balance');
is_sound($standby, 'the ledger is sound on the standby');

my $open = q{(SELECT id FROM held WHERE name = 'still open')};
my $in_parts = q{(SELECT id FROM held WHERE name = 'in parts')};
my %writings = (
	credit_grant => q{credit_grant('acme', 1, 'g-2')},
	credit_adjust => q{credit_adjust('acme', 1, 'a-2', 'a correction')},
	credit_authorize => q{credit_authorize('acme', 1, 'c-2')},
	credit_charge => q{credit_charge('acme', 1, 'c-2')},
	credit_commit => qq{credit_commit($open)},
	'credit_commit in part' => qq{credit_commit($in_parts, 40, final => false)},
	credit_revert => qq{credit_revert($open)},
	credit_extend => qq{credit_extend($open, '1 hour')},
	credit_correct => q{credit_correct((SELECT id FROM held WHERE name = 'charged'), 1, 'a correction')},
	credit_refund => q{credit_refund((SELECT id FROM held WHERE name = 'charged'), 'r-1')},
	credit_authorize_many => q{credit_authorize_many('{acme}', '{1}', '{c-2}')},
	credit_charge_many => q{credit_charge_many('{acme}', '{1}', '{c-2}', skip_refused => true)},
	credit_commit_many => qq{credit_commit_many(ARRAY[$open])},
	credit_revert_many => qq{credit_revert_many(ARRAY[$open])},
	credit_account_configure => q{credit_account_configure('acme', credit_limit => 1)},
	credit_lot_configure => q{credit_lot_configure('acme', 1, priority => 1)},
	credit_void => q{credit_void('acme', 1, 'a reason')},
	credit_sweep => q{credit_sweep('infinity')});
foreach my $function (sort keys %writings)
{
	fails_with($standby, '25006', "SELECT $writings{$function}", "$function on the standby");
}

$primary->stop;
$standby->promote;

is( $standby->safe_psql(
		'postgres', q{
		SELECT campaign_id, status, amount, replayed FROM held, credit_authorize('acme', 100, name)
		ORDER BY campaign_id}),
	"charged|committed|60|t\nexpired|authorized|100|t\ngiven back|reverted|100|t\nin parts|authorized|70|t\n"
	  . "open to the end|authorized|100|t\nstill open|authorized|100|t",
	'after promotion, every key replays');
is($standby->safe_psql('postgres', qq{SELECT status, amount, available FROM credit_commit($open, 70)}),
	'committed|70|530', 'what was held on the primary is charged');
is($standby->safe_psql('postgres', q{SELECT entry_no, balance_after FROM credit_grant('acme', 1, 'g-2')}),
	'6|801', 'entries are numbered on');
is( $standby->safe_psql(
		'postgres', qq{
		SELECT status, amount, replayed FROM credit_commit($in_parts, 30, final => false);
		SELECT status, amount, available FROM credit_commit($in_parts, 55)}),
	"authorized|70|t\ncommitted|55|576", 'what was charged in part on the primary is known, and the rest is charged');
is( $standby->safe_psql(
		'postgres', q{
		SELECT credit_extend(id, '30 days') FROM held WHERE name = 'open to the end' \g /dev/null
		SELECT credit_sweep(now() + '1 day');
		SELECT status, settled_by FROM held JOIN credit_ledger ON authorization_id = id WHERE name = 'expired'}),
	"1\ncommitted|timeout", 'what expired is swept');
is_sound($standby, 'the ledger is sound after promotion');

$standby->stop;
done_testing();
