# Goal: a restore into a server whose worker is at work gives the ledger as it was dumped, whatever the format, the order and
# the number of jobs: the worker settles nothing before all is there, and then, by itself, each expired hold once.
#
# Method: a ledger with open and expired holds, alerts, findings, counts, and partitions that were made just before the dump, one with
# a trigger of its own; dumped in every form while the worker was off. Restored over and over with the worker looking ten
# times a second, beside tables of the application that make the jobs take different turns; once section by section, once
# the rows alone. Triggers on what is settled write down what the worker did and what was missing then.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;
use LedgerServer;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $directory = PostgreSQL::Test::Utils::tempdir;
my $TOTALS = q{
	SELECT (SELECT count(*) FROM credit_ledger), (SELECT count(*) FROM credit_entry), (SELECT sum(balance) FROM credit_account),
		   (SELECT count(*) FROM credit_idempotency), (SELECT count(*) FROM credit_ledger WHERE status = 'committed'),
		   (SELECT count(*) FROM credit_ledger WHERE status = 'authorized'), (SELECT count(*) FROM settled),
		   (SELECT count(*) FROM credit_finding), (SELECT count(*) FROM credit_finding_part)};
my $node = new_server(
	'restore', q{
	shared_preload_libraries = 'credit_ledger'
	credit_ledger.sweep_interval = '100ms'
	credit_ledger.worker = off
	max_wal_size = '2GB'
});
$node->safe_psql('postgres', 'CREATE DATABASE original');
$node->safe_psql('original', q{
	CREATE EXTENSION credit_ledger;
	SELECT count(credit_grant('o-' || o, 100000, 'g')) FROM generate_series(1, 2000) o;
	SELECT credit_account_configure('o-1', low_balance_threshold => 1000000);
	SELECT count(credit_authorize('o-' || o, 5, 'charged-' || o)) FROM generate_series(1, 500) o;
	SELECT count(credit_commit(authorization_id, 5)) FROM credit_ledger WHERE status = 'authorized';
	SELECT credit_create_partition('credit_entry', clock_timestamp(), 'infinity');
	SELECT credit_create_partition('credit_ledger_settled', clock_timestamp(), 'infinity');
	CREATE TABLE settled (authorization_id text, restoring boolean);
	CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
	  INSERT INTO public.settled VALUES (new.authorization_id, EXISTS (SELECT FROM credit_ledger_internal.dumped));
	  RETURN new;
	END $$;
	DO $$
	DECLARE
	  leaf regclass := (SELECT inhrelid FROM pg_inherits
						WHERE inhparent = 'credit_ledger_settled'::regclass AND inhrelid <> 'credit_ledger_settled_default'::regclass);
	BEGIN
	  EXECUTE format('CREATE TRIGGER note AFTER INSERT ON %s FOR EACH ROW EXECUTE FUNCTION note()', leaf);
	END $$;
	SELECT count(credit_authorize('o-' || o, 10, 'expired-' || o, timeout => '1 ms')) FROM generate_series(1, 2000) o;
	SELECT count(credit_authorize('o-' || o, 10, 'open-' || o, timeout => '1 day')) FROM generate_series(1, 100) o;
	CREATE TABLE used AS
	SELECT org_id, campaign_id, settled_at AS used_at, amount + CASE org_id WHEN 'o-1' THEN 50 WHEN 'o-2' THEN 3 ELSE 0 END AS quantity
	FROM credit_ledger WHERE status = 'committed';
	INSERT INTO used SELECT 'o-2', 'more ' || i, now(), 3 FROM generate_series(1, 9) i;
	SELECT credit_usage_source_register('used', 'used');
	SELECT credit_run_reconciliation();
	SELECT credit_maintain();
	SELECT format('CREATE TABLE app_%s AS SELECT i, repeat(''x'', 500) AS t FROM generate_series(1, 1000 * %s) i', n, n)
	FROM generate_series(1, 9) n \gexec
});
is($node->safe_psql('original', $TOTALS), '2600|2500|199997500|4600|500|2100|0|2|10', 'what is dumped');

my %dumps = (custom => [ '-Fc' ], directory => [ '-Fd' ], inserts => [ '-Fc', '--inserts' ], plain => ['-Fp']);
foreach my $name (sort keys %dumps)
{
	$node->command_ok([ 'pg_dump', '--no-sync', '-d', 'original', @{ $dumps{$name} }, '-f', "$directory/$name" ], "pg_dump $name");
}
$node->safe_psql('postgres', 'ALTER DATABASE original ALLOW_CONNECTIONS false');
$node->append_conf('postgresql.conf', "credit_ledger.worker = on\n");
$node->reload;

foreach my $format (qw(custom directory))
{
	foreach my $jobs (1 .. 4)
	{
		restored("$format, $jobs jobs", sub { pg_restore($_[0], '-j', $jobs, "$directory/$format") });
	}
}
restored('rows as INSERT, 2 jobs', sub { pg_restore($_[0], '-j', 2, "$directory/inserts") });
restored('in one transaction', sub { pg_restore($_[0], '--single-transaction', "$directory/custom") });
restored(
	'section by section',
	sub {
		foreach my $section (qw(pre-data data post-data))
		{
			pg_restore($_[0], '-j', 2, "--section=$section", "$directory/directory");
			looked_at($_[0]) unless $section eq 'post-data';
			is($node->safe_psql($_[0], q{SELECT count(*) FROM credit_ledger WHERE settled_by = 'timeout'}), '0', "nothing is settled in $section")
			  unless $section eq 'post-data';
		}
	});
restored(
	'definitions, then rows',
	sub {
		pg_restore($_[0], '--schema-only', "$directory/custom");
		looked_at($_[0]);
		pg_restore($_[0], '-j', 3, '--data-only', "$directory/directory");
	});
restored(
	'by psql',
	sub {
		$node->command_ok([ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-d', $_[0], '-f', "$directory/plain" ], 'psql');
	});

subtest 'a restore that is not complete' => sub {
	$node->safe_psql('postgres', 'CREATE DATABASE target');
	pg_restore('target', '-L', list_without('credit_idempotency'), "$directory/custom");
	looked_at('target');
	like($node->safe_psql('target', 'SELECT left_alone_because FROM credit_worker_status()'),
		qr/^it is being restored: of credit_idempotency there are 0 rows of 4600$/, 'the status tells what is missing');
	like($node->safe_psql('target', q{SELECT status, detail, what_to_do FROM credit_health() WHERE check_name = 'last_sweep'}),
		qr/^warning\|this database is left alone: it is being restored.*credit_worker_wake/, 'and so does health');
	is($node->safe_psql('target', q{SELECT count(*) FROM credit_ledger WHERE settled_by = 'timeout'}), '0', 'nothing is settled');
	$node->safe_psql('target', 'SELECT credit_worker_wake()');
	ok($node->poll_query_until('target', q{SELECT count(*) = 0 FROM credit_ledger_open WHERE expires_at < now()}),
		'until somebody says that this is all');
	is($node->safe_psql('target', 'SELECT left_alone_because IS NULL FROM credit_worker_status()'), 't', 'then nothing is left alone');
	$node->safe_psql('postgres', 'DROP DATABASE target');
};

subtest 'rows that came from elsewhere without a dump' => sub {
	$node->safe_psql('postgres', 'CREATE DATABASE target');
	$node->safe_psql('target', q{
		CREATE EXTENSION credit_ledger;
		INSERT INTO credit_ledger (authorization_id, org_id, idempotency_key, status, amount, authorized_amount, timeout_action, created_at, expires_at)
		VALUES ('a', 'o', 'k', 'authorized', 1, 1, 'commit', now(), now())});
	looked_at('target');
	like($node->safe_psql('target', 'SELECT left_alone_because FROM credit_worker_status()'), qr/came from elsewhere/, 'are left alone');
	$node->safe_psql('target', q{
		INSERT INTO credit_account (org_id, held, created_at, updated_at) VALUES ('o', 1, now(), now());
		INSERT INTO credit_idempotency (org_id, operation, idempotency_key, amount, authorization_id, created_at)
		VALUES ('o', 'authorize', 'k', 1, 'a', now());
		SELECT credit_grant('o', 1, 'g')});
	ok($node->poll_query_until('target', q{SELECT count(*) = 0 FROM credit_ledger_open}), 'until the ledger is called');
	is_sound($node, 'the ledger is sound', database => 'target');
	$node->safe_psql('postgres', 'DROP DATABASE target');
};

$node->stop;
done_testing();

# Restores into a database of its own and looks what became of it.
sub restored
{
	my ($name, $restore) = @_;

	subtest $name => sub {
		$node->safe_psql('postgres', 'CREATE DATABASE target');
		$restore->('target');
		ok($node->poll_query_until('target', q{SELECT count(*) = 0 FROM credit_ledger_open WHERE expires_at < now()}),
			'what has expired is settled') or diag($node->safe_psql('target', 'SELECT * FROM credit_worker_status()'));
		is($node->safe_psql('target', $TOTALS), '2600|4500|199977500|4600|2500|100|2000|2|10', 'each hold once, seen by the trigger');
		is($node->safe_psql('target', 'SELECT count(*) FROM settled WHERE restoring'), '0', 'once the restore was known to be complete');
		is($node->safe_psql('target', q{SELECT count(*), count(DISTINCT tableoid) FROM credit_ledger WHERE settled_by = 'timeout'}),
			'2000|1', 'in its partition');
		is_sound($node, 'the ledger is sound', database => 'target');
		$node->safe_psql('postgres', 'DROP DATABASE target');
	};
}

sub pg_restore
{
	my ($database, @arguments) = @_;
	my ($stdout, $stderr);

	local $Test::Builder::Level = $Test::Builder::Level + 2;
	my $status = IPC::Run::run([ 'pg_restore', '-d', $node->connstr($database), @arguments ], '>', \$stdout, '2>', \$stderr);
	ok($status && $stderr eq '', 'pg_restore') or diag($stderr);
}

# A file with the archive's contents, but for the rows of a table.
sub list_without
{
	my ($table) = @_;
	my $list = "$directory/list";
	my ($contents) = run_command([ 'pg_restore', '-l', "$directory/custom" ]);

	open my $file, '>', $list or die $!;
	print $file map { "$_\n" } grep { !/TABLE DATA \S+ \Q$table\E / } split /\n/, $contents;
	close $file;
	return $list;
}

# Wait until a sweeper that began from now on has been there.
sub looked_at
{
	my ($database) = @_;
	my $query = q{SELECT last_sweep_at FROM credit_worker_status()};
	my $before = $node->safe_psql($database, 'SELECT clock_timestamp()');

	foreach (1, 2)
	{
		$node->poll_query_until($database, "SELECT last_sweep_at > '$before' FROM credit_worker_status()") or die 'nobody looks';
		$before = $node->safe_psql($database, 'SELECT clock_timestamp()');
	}
}
