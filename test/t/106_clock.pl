# Goal: a clock that is set back or forward while the server runs changes what the clock on the wall says and nothing
# else: sweeps come as often as before, an interval that is made shorter counts at once, and a hold lives as long as was
# asked for, also on an account that was called while the clock was ahead; that one is named.
#
# Method: the server runs under a clock that reads from a file how far it is off (clock.c), and leaves alone the clock that
# nobody sets. By less than 24 days: the server's checkpointer reckons with milliseconds in 32 bits.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;
use LedgerServer;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $clock = PostgreSQL::Test::Utils::tempdir . '/clock';
my $campaigns = 0;
my $node = PostgreSQL::Test::Cluster->new('clock');
$node->init;
$node->append_conf('postgresql.conf', q{
	shared_preload_libraries = 'credit_ledger'
	credit_ledger.sweep_interval = '200ms'
});
set_clock($clock, '+0');
start_under_clock($node, $clock);
$node->safe_psql('postgres', 'CREATE EXTENSION credit_ledger');
settles('the clock is right');

subtest 'back' => sub {
	set_clock($clock, '-5h');
	my $counted = $node->safe_psql('postgres', 'SELECT coalesce(sum(count), 0) FROM credit_stat');
	settles('a hold of an hour ago, by the new clock');
	my $swept = $node->safe_psql('postgres', 'SELECT last_sweep_at FROM credit_worker_status()');
	ok($node->poll_query_until('postgres', "SELECT last_sweep_at <> '$swept' FROM credit_worker_status()"), 'sweeps go on');
	ok($node->poll_query_until('postgres', "SELECT sum(count) > $counted FROM credit_stat"), 'and so does counting');
};

subtest 'forward, and back again' => sub {
	set_clock($clock, '+20d');
	settles('twenty days on');
	set_clock($clock, '+0');
	settles('and back');
	is($node->safe_psql('postgres', q{SELECT status FROM credit_health() WHERE check_name = 'last_sweep'}), 'ok', 'health is well');
};

subtest 'one call while the clock was ahead' => sub {
	# After the account of twenty days ahead, above.
	set_clock($clock, '+20d');
	$node->safe_psql('postgres', q{SELECT credit_grant('early', 100, 'g')});
	set_clock($clock, '+0');
	is($node->safe_psql('postgres', q{
			SELECT status, expires_at BETWEEN clock_timestamp() AND clock_timestamp() + interval '1 second',
				   created_at > clock_timestamp() + interval '19 days'
			FROM credit_authorize('early', 10, 'a second', timeout => '1 s')}),
		'authorized|t|t', 'a hold expires by the clock on the wall, and is dated after that call');
	ok($node->poll_query_until('postgres', q{SELECT status = 'committed' FROM credit_ledger WHERE campaign_id = 'a second'}),
		'a second later it is settled');
	is($node->safe_psql('postgres', q{
			SELECT credit_refund(authorization_id, 'r', 1), credit_adjust('early', 5, 'a', 'goodwill')
			FROM credit_ledger WHERE campaign_id = 'a second' \g /dev/null
			SELECT count(*), bool_and(created_at >= before), (SELECT settled_at >= created_at FROM credit_ledger WHERE org_id = 'early')
			FROM (SELECT created_at, lag(created_at, 1, '-infinity') OVER (ORDER BY entry_no) AS before
				  FROM credit_entry WHERE org_id = 'early') AS e}),
		'4|t|t', 'no instant of the account goes back');
	my ($status, $detail, $what_to_do) = split /\|/, $node->safe_psql('postgres', q{
		SELECT status, detail, what_to_do FROM credit_health() WHERE check_name = 'accounts_from_the_future'});
	is($status, 'warning', 'health is not content');
	like($detail, qr/^2, the farthest of organisation "early"/, 'it names the account');
	my ($statement) = $what_to_do =~ /(SELECT .*;)/;
	like($node->safe_psql('postgres', $statement), qr/^early\|/m, 'and what it says to type finds it');
};

subtest 'a shorter interval counts at once' => sub {
	set_interval('1h');
	set_interval('200ms');
	settles('after an hour\'s interval');
};

is_sound($node, 'the ledger is sound');
$node->stop;
done_testing();

# Change the interval, and wait until the launcher works by it.
sub set_interval
{
	my ($interval) = @_;
	my $swept = $node->safe_psql('postgres', 'SELECT coalesce(last_sweep_at, now()) FROM credit_worker_status()');

	$node->append_conf('postgresql.conf', "credit_ledger.sweep_interval = '$interval'\n");
	$node->reload;
	$node->poll_query_until('postgres', 'SHOW credit_ledger.sweep_interval', $interval) or die 'the reload does not arrive';
	$node->safe_psql('postgres', 'SELECT credit_worker_wake()');
	$node->poll_query_until('postgres', "SELECT last_sweep_at > '$swept' FROM credit_worker_status()") or die 'no sweep';
}

# A hold of a moment is settled soon.
sub settles
{
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($name) = @_;

	$campaigns++;
	$node->safe_psql('postgres', qq{
		SELECT credit_grant('org-$campaigns', 1, 'g');
		SELECT credit_authorize('org-$campaigns', 1, 'c-$campaigns', timeout => '1 ms')});
	ok($node->poll_query_until('postgres', "SELECT status = 'committed' FROM credit_ledger WHERE campaign_id = 'c-$campaigns'"), $name)
	  or die;
}
