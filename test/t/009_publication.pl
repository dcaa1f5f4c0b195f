# Goal: logical replication of all tables does not stand in the way of any call, and the subscriber holds the same
# ledger.
#
# Method: a publication FOR ALL TABLES, with partitions added. Every call that inserts, moves, changes or removes a row
# is made before the subscription copies the tables, and again after it; then both sides are compared.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;
use LedgerServer;
use PostgreSQL::Test::Cluster;
use Test::More;

my $publisher = new_server('publisher', '', allows_streaming => 'logical');
my $subscriber = new_server('subscriber', '', allows_streaming => 'logical');

foreach my $node ($publisher, $subscriber)
{
	$node->safe_psql(
		'postgres', q{
		CREATE EXTENSION credit_ledger;
		SELECT credit_create_partition('credit_ledger_settled', '2020-01-01', '2200-01-01');
		SELECT credit_create_partition('credit_entry', '2020-01-01', '2200-01-01');
		CREATE TABLE ids (name text PRIMARY KEY, id text)});
}
$publisher->safe_psql('postgres', 'CREATE PUBLICATION everything FOR ALL TABLES');
work('before');
$subscriber->safe_psql('postgres',
	"CREATE SUBSCRIPTION everything CONNECTION '" . $publisher->connstr . " dbname=postgres' PUBLICATION everything");
$subscriber->wait_for_subscription_sync($publisher, 'everything');
same_on_both_sides('copied');

work('after');
$publisher->wait_for_catchup('everything');
same_on_both_sides('replicated');

$subscriber->stop;
$publisher->stop;
done_testing();

# Every kind of call.
sub work
{
	my ($label) = @_;
	my $of = sub { "(SELECT id FROM ids WHERE name = '$label $_[0]')" };

	$publisher->safe_psql('postgres', qq{
		SELECT credit_account_configure('$label', credit_limit => 10);
		SELECT credit_grant('$label', 1000, 'g-1');
		SELECT credit_adjust('$label', -1, 'a-1', 'a correction');
		INSERT INTO ids
		  SELECT '$label ' || name, (credit_authorize('$label', 10, name, timeout_action => action)).authorization_id
		  FROM (VALUES ('charged', 'commit'), ('given back', 'commit'), ('expired', 'commit'), ('open', 'commit'),
					   ('expired and given back', 'commit'), ('lapsed', 'revert'::credit_timeout_action)) AS v (name, action);
		SELECT credit_commit(${\ $of->('charged')}, 6);
		SELECT credit_revert(${\ $of->('given back')});
		SELECT credit_extend(${\ $of->('open')}, '3 days');
		SELECT credit_refund(${\ $of->('charged')}, 'r-1', 2);
		SELECT credit_sweep(now() + interval '1 day');
		SELECT credit_commit(${\ $of->('expired')}, 5);
		SELECT credit_commit(${\ $of->('lapsed')}, 5);
		SELECT credit_revert(${\ $of->('expired and given back')})});
	is_deeply(
		rows($publisher, qq{
			SELECT name, status, l.amount, refunded_amount, settled_by FROM ids JOIN credit_ledger l ON authorization_id = id
			WHERE org_id = '$label' ORDER BY name}),
		[ "$label charged|committed|6|2|caller", "$label expired|committed|5|0|caller",
		  "$label expired and given back|reverted|10|0|caller", "$label given back|reverted|10|0|caller",
		  "$label lapsed|committed|5|0|caller", "$label open|authorized|10|0|" ],
		"$label: every call was made");
}

sub same_on_both_sides
{
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($name) = @_;

	foreach my $table (qw(credit_account credit_ledger credit_entry credit_idempotency))
	{
		my $contents = qq{SELECT tableoid::regclass, t::text FROM $table t ORDER BY t::text COLLATE "C"};

		is_deeply(rows($subscriber, $contents), rows($publisher, $contents), "$name: $table");
	}
	is_sound($publisher, "$name: the publisher is sound");
	is_sound($subscriber, "$name: the subscriber is sound");
}
