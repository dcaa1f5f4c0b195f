# Goal: a database with the ledger survives pg_dump and restore: nothing fails, everything that was stored is there, in
# the same partitions, with the same indexes, triggers, constraints and privileges, and the ledger goes on as the
# original would.
#
# Method: a ledger in a schema of its own with everything in it: open holds, some charged in part, holds settled by their caller, by timeout,
# and by a caller correcting the timeout, refunds, adjustments, imported rows with foreign ids, partitions made by
# credit_create_partition() and by CREATE TABLE ... PARTITION OF, a run of reconciliation with its findings, and roles of every level. It is restored by psql from
# a plain dump and by pg_restore from a custom one, each into an empty database, and compared with the original by text.
# Then the same calls are made in all three databases and their answers compared. At last one is restored once more, over what is there.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;
use LedgerServer;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $directory = PostgreSQL::Test::Utils::tempdir;
my $node = new_server('dump', '');

$node->safe_psql(
	'postgres', q{
	CREATE DATABASE original;
	CREATE DATABASE restored_by_psql;
	CREATE DATABASE restored_by_pg_restore;
	CREATE ROLE watcher;
	CREATE ROLE application;
	CREATE ROLE banker;
	CREATE ROLE archivist LOGIN IN ROLE pg_read_all_data});
$node->safe_psql(
	'original', q{
	CREATE SCHEMA credits;
	CREATE EXTENSION credit_ledger SCHEMA credits;
	SET search_path = credits, public;
	CREATE TABLE public.campaign (name text PRIMARY KEY, authorization_id text);

	SELECT credit_grant_privileges('watcher', 'reader');
	SELECT credit_grant_privileges('application', 'app');
	SELECT credit_grant_privileges('banker', 'operator');

	SELECT credit_account_configure(org, credit_limit => 50, overage_limit => 5, metadata => '{"plan": "gold"}'),
		   credit_grant(org, 1000, 'g-1', 'bought', '{"invoice": 7}')
	FROM unnest('{acme,globex}'::text[]) org;

	-- What is settled now stands in the default partitions, what is created later in ranges that begin now.
	INSERT INTO public.campaign
	  SELECT name, (credit_authorize('acme', 10, campaign_id => name, timeout => '1 minute', timeout_action => action,
									 metadata => '{"channel": "mail"}')).authorization_id
	  FROM (VALUES ('charged early', 'commit'), ('charged by timeout', 'commit'),
				   ('charged by timeout then corrected', 'commit'),
				   ('given back by timeout', 'revert'::credit_timeout_action)) AS v (name, action);
	SELECT credit_commit(authorization_id, 7) FROM public.campaign WHERE name = 'charged early';
	SELECT credit_create_partition('credit_ledger_settled', clock_timestamp(), 'infinity');
	CREATE TABLE credit_entry_by_hand PARTITION OF credit_entry (PRIMARY KEY (org_id, entry_no))
	  FOR VALUES FROM ('2020-01-01') TO ('2020-01-02');
	SELECT credit_create_partition('credit_entry', clock_timestamp(), 'infinity');

	INSERT INTO public.campaign
	  SELECT name, (credit_authorize('globex', 10, campaign_id => name)).authorization_id
	  FROM unnest('{charged,given back,refunded,partly refunded,open,open to the end,to be overrun}'::text[]
				   || '{"in parts","in parts, to the end","in parts, stopped"}'::text[]) AS name;
	SELECT credit_commit(authorization_id, 9) FROM public.campaign
	WHERE name IN ('charged', 'refunded', 'partly refunded');
	SELECT credit_revert(authorization_id, 'not sent') FROM public.campaign WHERE name = 'given back';
	SELECT credit_refund(authorization_id, 'r-1', reason => 'bounced') FROM public.campaign WHERE name = 'refunded';
	SELECT credit_refund(authorization_id, 'r-2', 4) FROM public.campaign WHERE name = 'partly refunded';
	SELECT credit_commit(authorization_id, 4, final => false) FROM public.campaign WHERE name LIKE 'in parts%';
	SELECT credit_extend(authorization_id, amount => 12) FROM public.campaign WHERE name LIKE 'in parts%';
	SELECT credit_revert(authorization_id, 'stopped') FROM public.campaign WHERE name = 'in parts, stopped';
	SELECT credit_adjust('globex', -13, 'a-1', 'goodwill withdrawn');
	SELECT credit_sweep(now() + interval '2 minutes');
	SELECT credit_commit(authorization_id, 8) FROM public.campaign WHERE name = 'charged by timeout then corrected';

	-- A run of reconciliation with findings, one of them resolved.
	CREATE TABLE public.usage (org_id text, campaign_id text, used_at timestamptz, quantity bigint);
	INSERT INTO public.usage VALUES ('acme', 'never authorized', now(), 50), ('globex', 'never authorized', now(), 60);
	SELECT credit_usage_source_register('usage', 'public.usage');
	SELECT credit_run_reconciliation();
	SELECT credit_resolve_finding(finding_id, 'adjust') FROM credit_finding
	WHERE org_id = 'acme' AND campaign_id = 'never authorized';

	-- Rows of an older system, in a partition made by hand.
	CREATE TABLE imported PARTITION OF credit_ledger_settled (PRIMARY KEY (authorization_id))
	  FOR VALUES FROM ('2019-01-01') TO ('2020-01-01');
	INSERT INTO credit_ledger (authorization_id, org_id, idempotency_key, status, amount, authorized_amount,
							   timeout_action, created_at, expires_at, settled_at, settled_by, reason)
	  VALUES ('auth-abc123', 'acme', 'imported', 'reverted', 33, 33, 'commit',
			  '2019-05-05 05:05', '2019-05-05 05:15', '2019-05-05 05:10', 'caller', 'not sent');
	INSERT INTO credit_idempotency (org_id, operation, idempotency_key, amount, authorization_id, created_at)
	  VALUES ('acme', 'authorize', 'imported', 33, 'auth-abc123', '2019-05-05 05:05');
});
is_sound($node, 'the original is sound', database => 'original', schema => 'credits');
is_deeply(
	rows($node, q{
		SELECT l.status, coalesce(l.settled_by::text, ''), count(*), count(DISTINCT l.tableoid)
		FROM credits.credit_ledger l GROUP BY 1, 2 ORDER BY 1, 2}, database => 'original'),
	[ 'authorized||5|1', 'committed|caller|7|2', 'committed|timeout|1|1',
	  'reverted|caller|2|2', 'reverted|timeout|1|1' ],
	'the original holds every kind of row');

$node->command_ok([ 'pg_dump', '--no-sync', '-d', 'original', '-f', "$directory/plain.sql" ], 'pg_dump');
$node->command_ok(
	[ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-d', 'restored_by_psql', '-f', "$directory/plain.sql" ],
	'restored by psql');
$node->command_ok([ 'pg_dump', '--no-sync', '-U', 'archivist', '-d', 'original', '-f', "$directory/archive.sql" ],
	'pg_dump by a role that may read everything');
is(without_keys("$directory/archive.sql"), without_keys("$directory/plain.sql"), 'gives the same');
$node->command_ok([ 'pg_dump', '--no-sync', '-Fc', '-d', 'original', '-f', "$directory/custom.dump" ], 'pg_dump -Fc');
$node->command_ok(
	[ 'pg_restore', '--single-transaction', '--exit-on-error',
	  '-d', 'restored_by_pg_restore', "$directory/custom.dump" ],
	'restored by pg_restore');

my $contents = contents('original');
my $definitions = definitions('original');
my $continuation = continue_work('original');
foreach my $database (qw(restored_by_psql restored_by_pg_restore))
{
	subtest $database => sub {
		is_deeply(contents($database), $contents, 'the same rows in the same tables');
		is_deeply(definitions($database), $definitions,
			'the same partitions, indexes, triggers, constraints and privileges');
		is_sound($node, 'the ledger is sound', database => $database, schema => 'credits');
		is_deeply(continue_work($database), $continuation, 'the same calls give the same answers');
		is_sound($node, 'and it is sound after them', database => $database, schema => 'credits');
		indexes_are_sound($node, 'every index has every row', database => $database, schema => 'credits');
	};
}

subtest 'over a ledger that is there' => sub {
	my @restore = ('pg_restore', '--clean', '--if-exists', '--single-transaction', '-d', 'restored_by_pg_restore', "$directory/custom.dump");
	my $before = contents('restored_by_pg_restore');
	local $ENV{PGOPTIONS} = '-c session_preload_libraries=credit_ledger';

	$node->command_fails_like(\@restore, qr/HINT:  Use DROP EXTENSION credit_ledger CASCADE/, 'pg_restore --clean stops at what it would drop');
	is_deeply(contents('restored_by_pg_restore'), $before, 'and changes nothing');
	$node->safe_psql('restored_by_pg_restore', 'DROP EXTENSION credit_ledger CASCADE');
	$node->command_ok(\@restore, 'it restores once the ledger was dropped');
	is_deeply(contents('restored_by_pg_restore'), $contents, 'all that was dumped, and no more');
};

# PostgreSQL carries an extension's table without what a DBA added to it; docs/operations.md says how it comes along nevertheless.
subtest 'the schema alone, with columns of a DBA\'s own' => sub {
	my $columns = q{
		ALTER TABLE credits.credit_account ADD COLUMN region text DEFAULT 'eu';
		ALTER TABLE credits.credit_ledger ADD COLUMN region text DEFAULT 'eu';
		ALTER TABLE credits.credit_entry ADD COLUMN region text DEFAULT 'eu'};
	$node->safe_psql('original', "$columns; UPDATE credits.credit_account SET region = 'us' WHERE org_id = 'acme'");
	$node->command_ok(
		[ 'pg_dump', '--no-sync', '--schema=credits', '--extension=credit_ledger', '-Fc', '-d', 'original', '-f', "$directory/schema.dump" ],
		'pg_dump of the schema and the extension');
	$node->safe_psql('postgres', 'CREATE DATABASE restored_schema');
	$node->safe_psql('restored_schema', "CREATE SCHEMA credits; CREATE EXTENSION credit_ledger SCHEMA credits; $columns");
	$node->command_ok(
		[ 'pg_restore', '-j2', '--exit-on-error', '-L', without_schema("$directory/schema.dump"), '-d', 'restored_schema', "$directory/schema.dump" ],
		'restored where the extension and the columns are');
	is_deeply(contents('restored_schema'), contents('original'), 'the same rows in the same tables, with what the columns held');
	is_sound($node, 'the ledger is sound', database => 'restored_schema', schema => 'credits');
};

$node->stop;
done_testing();

# What a dump contains, but for the schema, which is there.
sub without_schema
{
	my ($dump) = @_;
	my ($list) = run_command([ 'pg_restore', '-l', $dump ]);

	append_to_file("$dump.list", join '', map { "$_\n" } grep { !/ SCHEMA - / } split /\n/, $list);
	return "$dump.list";
}

# A plain dump, without the random key in it that psql is to be restricted with.
sub without_keys
{
	my ($file) = @_;

	return slurp_file($file) =~ s/^\\(un)?restrict .*\n//mgr;
}

# All rows of all tables of the schema, each with its table.
sub contents
{
	my ($database) = @_;
	my $tables = rows($node, q{
		SELECT oid::regclass FROM pg_class
		WHERE relnamespace = 'credits'::regnamespace AND relkind = 'r' ORDER BY relname}, database => $database);
	my $rows_of = sub {
		my ($table) = @_;
		return @{ rows($node, qq{SELECT '$table', t::text FROM $table t ORDER BY t::text COLLATE "C"},
				database => $database) };
	};

	return [ map { $rows_of->($_) } @$tables ];
}

# How the tables of the schema are made, and who may do what.
sub definitions
{
	my ($database) = @_;

	return rows($node, q{
		SELECT definition COLLATE "C"
		FROM pg_namespace n
		JOIN pg_class c ON c.relnamespace = n.oid,
		LATERAL (
		  SELECT c.relname || ' is ' || coalesce(pg_get_expr(c.relpartbound, c.oid), c.relkind::text)
				 || coalesce(' ' || array_to_string(c.reloptions, ','), '')
		  UNION ALL SELECT pg_get_indexdef(i.indexrelid) FROM pg_index i WHERE i.indrelid = c.oid
		  UNION ALL SELECT pg_get_triggerdef(t.oid) FROM pg_trigger t WHERE t.tgrelid = c.oid AND NOT t.tgisinternal
		  UNION ALL SELECT c.relname || ': ' || pg_get_constraintdef(k.oid) FROM pg_constraint k WHERE k.conrelid = c.oid
		  UNION ALL SELECT c.relname || ': ' || a::text FROM unnest(c.relacl) a) AS of_class(definition)
		WHERE n.nspname = 'credits'
		UNION ALL
		SELECT p.oid::regprocedure || ': ' || a::text FROM pg_proc p, unnest(p.proacl) a
		WHERE p.pronamespace = 'credits'::regnamespace
		UNION ALL
		SELECT n.nspname || ': ' || a::text FROM pg_namespace n, unnest(n.nspacl) a WHERE n.nspname = 'credits'
		ORDER BY 1}, database => $database);
}

# What happens after a restore: the answers of the application's and the operator's calls.
sub continue_work
{
	my ($database) = @_;
	my $of = sub { "(SELECT authorization_id FROM public.campaign WHERE name = '$_[0]')" };

	return rows($node, qq{
		SET search_path = credits, public;
		SELECT * FROM credit_grant('acme', 1000, 'g-1');
		SELECT * FROM credit_adjust('globex', -13, 'a-1', 'goodwill withdrawn');
		SELECT * FROM credit_refund(${\ $of->('partly refunded')}, 'r-2', 4);
		SELECT a.* FROM campaign c, credit_ledger l, credit_authorize(l.org_id, 10, l.campaign_id) a
		WHERE c.name = l.campaign_id AND l.authorization_id = c.authorization_id ORDER BY c.name;
		SELECT * FROM credit_revert('auth-abc123');
		SELECT status, amount, available, replayed FROM credit_commit(${\ $of->('charged')}, 9);
		SELECT status, amount, available, replayed FROM credit_commit(${\ $of->('open')});
		SELECT status, amount, available, replayed FROM credit_commit(${\ $of->('to be overrun')}, 15);
		SELECT status, amount, authorized_amount, available, replayed
		FROM credit_commit(${\ $of->('in parts')}, 4, final => false);
		SELECT status, amount, authorized_amount, available, replayed
		FROM credit_commit(${\ $of->('in parts')}, 9, final => false);
		SELECT status, amount, authorized_amount, available, replayed FROM credit_revert(${\ $of->('in parts')});
		SELECT status, amount, reason, available, replayed FROM credit_revert(${\ $of->('in parts, stopped')});
		SELECT status, amount, reason, available, replayed
		FROM credit_correct(${\ $of->('in parts, stopped')}, 3, 'one was lost');
		SELECT status, amount, settled_by, available, replayed FROM credit_revert(${\ $of->('charged by timeout')});
		SELECT status, amount, settled_by, available, replayed FROM credit_commit(${\ $of->('given back by timeout')}, 6);
		SELECT entry_no, amount, balance_after, available, replayed
		FROM credit_refund(${\ $of->('partly refunded')}, 'r-3');
		SET ROLE application;
		SELECT amount, available, replayed FROM credit_authorize('acme', 21, 'after the restore');
		SELECT * FROM credit_balance('globex');
		SET ROLE watcher;
		SELECT entry_no, kind, amount, balance_after FROM credit_statement('acme');
		SELECT entry_no, kind, amount, balance_after FROM credit_statement('globex');
		SET ROLE banker;
		SELECT entry_no, kind, amount, balance_after, available, replayed FROM credit_grant('globex', 5, 'g-2');
		RESET ROLE;
		SELECT credit_sweep(now() + interval '1 day');
		INSERT INTO usage VALUES ('acme', 'never authorized', now(), 40);
		SELECT run_id, findings_new, findings_open FROM credit_run_reconciliation();
		SELECT finding_id, org_id, campaign_id, verdict, difference, resolution FROM credit_finding ORDER BY finding_id;
		SELECT campaign_id, status, amount, refunded_amount, settled_by, tableoid::regclass
		FROM credit_ledger ORDER BY org_id, campaign_id NULLS FIRST}, database => $database);
}
