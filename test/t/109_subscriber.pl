# Goal: a database into which the ledger's tables are subscribed is left alone, or it would settle the same holds as the
# database they come from; health says so, and settling begins when the subscription is gone. So a major upgrade by logical
# replication goes as docs/operations.md has it: nothing is lost, nothing is done twice.
#
# Method: two servers, the worker of each at work. Holds expire on both sides while the subscription is there, once with
# everything published, once with the ledger's tables alone; then the subscriber takes over and settles what is left.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;
use LedgerServer;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $SETTINGS = q{
	shared_preload_libraries = 'credit_ledger'
	credit_ledger.sweep_interval = '100ms'
};
my $CONTENTS = q{
	SELECT l.authorization_id, l.status, l.amount, l.settled_by FROM credit_ledger l ORDER BY 1;
	SELECT org_id, balance, held, last_entry_no FROM credit_account ORDER BY 1;
	SELECT org_id, entry_no, amount, balance_after FROM credit_entry ORDER BY 1, 2};
my $old = new_server('old', $SETTINGS, allows_streaming => 'logical');
my $new = new_server('new', $SETTINGS);
my $campaigns = 0;

foreach my $publication ('FOR ALL TABLES', 'of the ledger alone')
{
	subtest "published: $publication" => sub {
		my $database = $publication eq 'FOR ALL TABLES' ? 'whole' : 'ledger';

		$_->safe_psql('postgres', "CREATE DATABASE $database") foreach $old, $new;
		$old->safe_psql($database, q{
			CREATE EXTENSION credit_ledger;
			CREATE TABLE app (id integer PRIMARY KEY);
			INSERT INTO app VALUES (1);
			SELECT credit_create_partitions(1);
			SELECT credit_grant('o-' || o, 1000, 'g') FROM generate_series(1, 10) o});
		hold($database, '1 ms');
		hold($database, '1 day');
		copy_definitions($database);
		$old->safe_psql($database, publish($publication));
		$new->safe_psql($database, "CREATE SUBSCRIPTION s_$database CONNECTION 'host=" . $old->host . ' port=' . $old->port . " dbname=$database' PUBLICATION p");
		$new->wait_for_subscription_sync($old, "s_$database", $database);

		ok($new->poll_query_until($database, qq{
				SELECT left_alone_because = 'subscription s_$database writes its tables' FROM credit_worker_status()}), 'it is left alone');
		is($new->safe_psql($database, q{SELECT status FROM credit_health() WHERE check_name = 'last_sweep'}), 'warning', 'health tells');
		foreach my $round (1 .. 5)
		{
			hold($database, '1 ms');
			settled($old, $database);
		}
		$old->wait_for_catchup("s_$database");
		is($new->safe_psql($database, $CONTENTS), $old->safe_psql($database, $CONTENTS), 'it follows, and settles nothing itself');
		is($new->safe_psql('postgres', 'SELECT coalesce(sum(apply_error_count), 0) FROM pg_stat_subscription_stats'), '0',
			'nothing is in the way of replication');

		# The application stops, the last changes arrive, the subscription goes.
		set_worker($old, 'off');
		hold($database, '1 ms');
		$old->wait_for_catchup("s_$database");
		$new->safe_psql($database, "DROP SUBSCRIPTION s_$database");
		settled($new, $database);
		is($new->safe_psql($database, 'SELECT left_alone_because IS NULL FROM credit_worker_status()'), 't', 'settling has begun');
		$new->safe_psql($database, q{SELECT count(credit_commit(authorization_id, 1)) FROM credit_ledger_open});
		is($new->safe_psql($database, q{
				SELECT status, settled_by, sum(amount), count(*) FROM credit_ledger GROUP BY 1, 2 ORDER BY 1, 2}),
			"committed|caller|10|10\ncommitted|timeout|70|70", 'each hold once, and calls go on');
		is_sound($new, 'the ledger is sound', database => $database);
		set_worker($old, 'on');
	};
}

$_->stop foreach $new, $old;
done_testing();

# What docs/operations.md says to publish.
sub publish
{
	my ($publication) = @_;

	return 'CREATE PUBLICATION p FOR ALL TABLES' if $publication eq 'FOR ALL TABLES';
	return q{
		SELECT format('CREATE PUBLICATION p FOR TABLE %s', string_agg(c.oid::regclass::text, ', '))
		FROM pg_class c
		WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace AND c.relname LIKE 'credit\_%' \gexec
	};
}

# The definitions, as by pg_dump --schema-only.
sub copy_definitions
{
	my ($database) = @_;
	my $file = PostgreSQL::Test::Utils::tempdir . "/$database.sql";

	$old->command_ok([ 'pg_dump', '--schema-only', '-d', $database, '-f', $file ], 'pg_dump');
	$new->command_ok([ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-d', $database, '-f', $file ], 'psql');
}

# A hold of each organisation.
sub hold
{
	my ($database, $timeout) = @_;

	$campaigns++;
	$old->safe_psql($database,
		qq{SELECT count(credit_authorize('o-' || o, 1, 'c-$campaigns', timeout => '$timeout')) FROM generate_series(1, 10) o});
}

sub settled
{
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($node, $database) = @_;

	ok($node->poll_query_until($database, q{SELECT count(*) = 0 FROM credit_ledger WHERE status = 'authorized' AND expires_at < now()}),
		'what has expired is settled') or die $node->safe_psql($database, 'SELECT * FROM credit_worker_status()');
}
