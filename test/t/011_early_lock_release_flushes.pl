# Goal: with early lock release every commit that was answered is on disk, and on the synchronous standby where the
# session asks for that, whatever kind of transaction it was; and what the session's synchronous_commit was before, it is
# after.
#
# Method: the WAL writer, which would flush what a session left behind, is stopped. Clients note where the log had been
# flushed to when their commit was answered; pg_walinspect tells where the commit records end. Then a standby is stopped,
# and sessions in every mode of synchronous_commit call for the same organisation: pg_stat_activity tells what they wait
# for. Last, transactions of every kind, each followed by an ordinary one that must be flushed as the session asks for.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;
use LedgerServer;
use PostgreSQL::Test::Cluster;
use Test::More;

my $CLIENTS = 4;
my $TURNS = 500;

my $node = new_server(
	'early_lock_release_kinds', q{
	fsync = on
	autovacuum = off
	max_prepared_transactions = 10
	credit_ledger.early_lock_release = on
}, allows_streaming => 1);

$node->safe_psql(
	'postgres', q{
	CREATE EXTENSION credit_ledger;
	CREATE EXTENSION pg_walinspect;
	SELECT credit_grant('acme', 1000000, 'opening');
	CREATE TABLE own (n integer);
	-- Transactions, and where the log had been flushed to when they were answered.
	CREATE TABLE answered (kind text, xid xid, flushed pg_lsn)});

subtest 'an answered commit is on disk' => \&answered_is_flushed;
subtest 'with a standby that is stopped' => \&standby_is_stopped;
subtest 'transactions of every kind' => \&every_kind;
subtest 'a commit that fails at the last moment' => \&serialization_failure;
is_sound($node, 'the ledger is sound');
indexes_are_sound($node, 'every index has every row');
$node->stop;
done_testing();

# Each turn of a client is a transaction with the ledger and an ordinary one. A control, whose commits nobody flushes,
# shows that it would be noticed.
sub answered_is_flushed
{
	my $turn = q{
		BEGIN;
		SELECT (credit_authorize('acme', 1, idempotency_key => gen_random_uuid()::text)).available;
		SELECT pg_current_xact_id() AS ledger_xid \gset
		COMMIT;
		INSERT INTO answered VALUES ('ledger', ':ledger_xid', pg_current_wal_flush_lsn()) RETURNING pg_current_xact_id() AS own_xid \gset
		INSERT INTO answered VALUES ('ordinary', ':own_xid', pg_current_wal_flush_lsn());
	};
	my $start = $node->safe_psql('postgres', 'SELECT pg_current_wal_insert_lsn()');
	my $wal_writer = stop_wal_writer();

	$node->pgbench("--client=$CLIENTS --transactions=$TURNS --no-vacuum",
		0, [ qr{processed: ${\($CLIENTS * $TURNS)}/} ], [qr/^(?!.*ERROR)/s], 'clients of one organisation',
		{ turn => $turn });
	$node->safe_psql('postgres', q{
		SET synchronous_commit = off;
		INSERT INTO own VALUES (1) RETURNING pg_current_xact_id() AS xid \gset
		INSERT INTO answered VALUES ('control', :'xid', pg_current_wal_flush_lsn())});
	kill 'CONT', $wal_writer;
	$node->safe_psql('postgres', 'CHECKPOINT');

	is( $node->safe_psql(
			'postgres', qq{
			SELECT kind, count(*), count(*) FILTER (WHERE flushed < end_lsn)
			FROM answered
			JOIN pg_get_wal_records_info('$start', pg_current_wal_flush_lsn()) USING (xid)
			WHERE resource_manager = 'Transaction' AND record_type = 'COMMIT'
			GROUP BY kind ORDER BY kind}),
		join("\n", 'control|1|1', "ledger|${\($CLIENTS * $TURNS)}|0", "ordinary|${\($CLIENTS * $TURNS)}|0"),
		'every commit, the ledger\'s and others, had been flushed when it was answered');
}

# What the first and the second caller for an organisation wait for, by the session's mode of waiting.
sub standby_is_stopped
{
	my %waits = (
		off => [],
		local => [],
		remote_write => [ 'SyncRep', 'SyncRep' ],
		on => [ 'SyncRep', 'SyncRep' ],
		remote_apply => [ 'SyncRep', 'transactionid' ]);
	my $standby = PostgreSQL::Test::Cluster->new('standby');
	my @waiting;

	$node->backup('base');
	$standby->init_from_backup($node, 'base', has_streaming => 1);
	$standby->start;
	set_synchronous_standby($node, 'standby');
	$node->poll_query_until('postgres', q{SELECT sync_state = 'sync' FROM pg_stat_replication}) or die 'no standby';
	$node->safe_psql('postgres', "SELECT credit_grant('$_', 100, 'opening')") foreach keys %waits;
	$standby->stop;

	foreach my $mode (sort keys %waits)
	{
		# For the one caller the mode is the session's, for the other the transaction's.
		foreach my $caller ([ 0, $mode, '' ], [ 1, 'local', "SET LOCAL synchronous_commit = $mode;" ])
		{
			my ($n, $mode_of_session, $set_local) = @$caller;
			my $session = $node->background_psql('postgres', on_error_stop => 0);
			my $wait = $waits{$mode}[$n];
			my $name = "$mode, caller $n";

			$session->query_safe("SET application_name = '$name'; SET synchronous_commit = $mode_of_session");
			$session->query_until($wait ? qr/called/ : qr/answered/,
				"\\echo called\nBEGIN; $set_local SELECT credit_authorize('$mode', 20, '$n');\nCOMMIT;\n\\echo answered\n");
			if ($wait)
			{
				$node->poll_query_until('postgres',
					"SELECT wait_event = '$wait' FROM pg_stat_activity WHERE application_name = '$name'")
				  or die "$name does not wait for $wait";
				push @waiting, [ $name, $session, $mode_of_session ];
			}
			else
			{
				is($session->query('SHOW synchronous_commit'), $mode_of_session, "$name: answered, and as before");
				$session->quit;
			}
		}
	}
	is($node->safe_psql('postgres', q{SELECT org_id, held FROM credit_account WHERE org_id <> 'acme' ORDER BY org_id}),
		"local|40\noff|40\non|40\nremote_apply|0\nremote_write|40", 'what is to be seen meanwhile');

	$standby->start;
	foreach my $waiting (@waiting)
	{
		my ($name, $session, $mode_of_session) = @$waiting;

		like($session->query_until(qr/answered/, ''), qr/answered/, "$name: answered now");
		is($session->query('SHOW synchronous_commit'), $mode_of_session, 'and as before');
		$session->quit;
	}
	$node->wait_for_catchup($standby);
	is($standby->safe_psql('postgres', q{SELECT min(held), max(held) FROM credit_account WHERE org_id <> 'acme'}),
		'40|40', 'the standby has it all');
	is_sound($standby, 'the ledger is sound there');
	set_synchronous_standby($node, '');
	$standby->stop;
}

sub every_kind
{
	my @kinds = (
		[ 'a commit', q{SELECT credit_authorize('acme', 1, :'key')} ],
		[ 'a replay', q{SELECT credit_grant('acme', 1000000, 'opening')} ],
		[ 'many in one call', q{SELECT count(*) FROM credit_authorize_many(ARRAY['acme', 'acme'], ARRAY[1, 1], ARRAY[:'key', :'key' || '-too'])} ],
		[ 'a call that fails', q{SELECT credit_authorize('acme', 1000000000, :'key')} ],
		[ 'a rollback', q{BEGIN; SELECT credit_authorize('acme', 1, :'key'); ROLLBACK} ],
		[ 'a transaction that fails', q{BEGIN; SELECT credit_authorize('acme', 1, :'key'); SELECT 1 / 0; COMMIT} ],
		[ 'a deferred trigger that raises', q{BEGIN; SELECT credit_authorize('acme', 1, :'key'); INSERT INTO refused VALUES (1); COMMIT} ],
		[ 'a deferred trigger that calls', q{INSERT INTO calling VALUES (:'key')} ],
		[ 'a savepoint rolled back', q{BEGIN; SAVEPOINT s; SELECT credit_authorize('acme', 1, :'key'); ROLLBACK TO s; INSERT INTO own VALUES (1); COMMIT} ],
		[ 'a savepoint released', q{BEGIN; SAVEPOINT s; SELECT credit_authorize('acme', 1, :'key'); RELEASE s; COMMIT} ],
		[ 'commits in a procedure', q{CALL commits(:'key')} ],
		[ 'a chain', q{BEGIN; SELECT credit_authorize('acme', 1, :'key'); COMMIT AND CHAIN; INSERT INTO own VALUES (1); COMMIT} ],
		[ 'a query of parallel workers', q{BEGIN; SELECT credit_authorize('acme', 1, :'key'); SELECT count(*) FROM crowd; COMMIT} ],
		[ 'COPY', q{BEGIN; SELECT credit_authorize('acme', 1, :'key'); COPY own FROM PROGRAM 'echo 1'; COMMIT} ],
		[ 'a table that is dropped', q{BEGIN; CREATE TABLE dropped (); COMMIT; BEGIN; SELECT credit_authorize('acme', 1, :'key'); DROP TABLE dropped; COMMIT} ],
		[ 'a notification', q{LISTEN ledger; BEGIN; SELECT credit_authorize('acme', 1, :'key'); NOTIFY ledger; COMMIT; UNLISTEN ledger} ],
		[ 'a prepared transaction committed', q{BEGIN; SELECT credit_authorize('acme', 1, :'key'); PREPARE TRANSACTION 'p'; COMMIT PREPARED 'p'} ],
		[ 'a prepared transaction rolled back', q{BEGIN; SELECT credit_authorize('acme', 1, :'key'); PREPARE TRANSACTION 'p'; ROLLBACK PREPARED 'p'} ],
		[ 'SET LOCAL synchronous_commit = local', q{BEGIN; SET LOCAL synchronous_commit = local; SELECT credit_authorize('acme', 1, :'key'); COMMIT} ],
		[ 'SET LOCAL synchronous_commit = off', q{BEGIN; SET LOCAL synchronous_commit = off; SELECT credit_authorize('acme', 1, :'key'); COMMIT} ],
		[ 'SET synchronous_commit, rolled back', q{BEGIN; SET synchronous_commit = local; SELECT credit_authorize('acme', 1, :'key'); ROLLBACK} ],
		[ 'SET LOCAL early_lock_release = off', q{BEGIN; SET LOCAL credit_ledger.early_lock_release = off; SELECT credit_authorize('acme', 1, :'key'); COMMIT} ]);
	my $session = $node->background_psql('postgres', on_error_stop => 0);
	my $wal_writer;

	$session->query_safe(q{
		CREATE TABLE refused (n integer);
		CREATE TABLE calling (key text);
		CREATE TABLE crowd WITH (parallel_workers = 2) AS SELECT generate_series(1, 1000);
		CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'refused'; END $$;
		CREATE FUNCTION call() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM credit_authorize('acme', 1, NEW.key); RETURN NULL; END $$;
		CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON refused DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse();
		CREATE CONSTRAINT TRIGGER call AFTER INSERT ON calling DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION call();
		CREATE PROCEDURE commits(key text) LANGUAGE plpgsql AS $$
		BEGIN
		  PERFORM credit_authorize('acme', 1, key || '-1');
		  COMMIT;
		  PERFORM credit_authorize('acme', 1, key || '-2');
		  ROLLBACK;
		  PERFORM credit_authorize('acme', 1, key || '-3');
		  COMMIT;
		END
		$$;
		SET parallel_setup_cost = 0;
		SET parallel_tuple_cost = 0;
		SET min_parallel_table_scan_size = 0});
	like($session->query('EXPLAIN SELECT count(*) FROM crowd'), qr/Workers Planned: 2/, 'the workers are real');
	$wal_writer = stop_wal_writer();

	foreach my $mode (qw(off local remote_write on remote_apply))
	{
		$session->query("SET synchronous_commit = $mode");
		foreach my $kind (@kinds)
		{
			my ($name, $transaction) = @$kind;

			$session->query("\\set key '$mode, $name'\n$transaction");
			is($session->query('SHOW synchronous_commit'), $mode, "$mode: as before after $name");
			is(ordinary_commit($session, $mode), $mode eq 'off' ? 'f' : 't', 'and an ordinary commit as well');
		}
	}
	kill 'CONT', $wal_writer;
	$session->quit;
	is( $node->safe_psql(
			'postgres', q{
			SELECT modes, count(*), count(*) FILTER (WHERE key ~ 'fail|roll|raise|-2$')
			FROM (SELECT substring(idempotency_key FROM ', (.*)') AS key, count(*) AS modes
				  FROM credit_ledger WHERE idempotency_key ~ ', ' GROUP BY key) AS k
			GROUP BY modes}),
		'5|16|0', 'in all five modes those that were to commit did, the others did not');
}

# Whether an ordinary commit was flushed. One that was not to be may be by somebody else's flush, but not each time.
sub ordinary_commit
{
	my ($session, $mode) = @_;
	my $flushed;

	for (1 .. ($mode eq 'off' ? 10 : 1))
	{
		$flushed = $session->query(q{
			INSERT INTO own VALUES (1) RETURNING pg_current_wal_insert_lsn() AS inserted \gset
			SELECT pg_current_wal_flush_lsn() > :'inserted'});
		last if $flushed eq 'f';
	}
	return $flushed;
}

# Each of two transactions has read what the other writes, and the other commits first.
sub serialization_failure
{
	my ($session, $other) = map { $node->background_psql('postgres', on_error_stop => 0) } 1 .. 2;

	$session->query_safe(q{
		CREATE TABLE duty (name text, present boolean);
		INSERT INTO duty VALUES ('Ada', true), ('Bob', true);
		SET synchronous_commit = local});
	foreach my $transaction ($session, $other)
	{
		$transaction->query_safe('BEGIN ISOLATION LEVEL SERIALIZABLE; SELECT count(*) FROM duty WHERE present');
	}
	$session->query_safe(q{
		UPDATE duty SET present = false WHERE name = 'Ada';
		SELECT credit_authorize('acme', 1, 'on duty')});
	$other->query_safe(q{UPDATE duty SET present = false WHERE name = 'Bob'; COMMIT});
	$session->query('COMMIT');
	is($session->query(q{SELECT count(*) FROM credit_ledger WHERE campaign_id = 'on duty'}), '0', 'the commit failed');
	is($session->query('SHOW synchronous_commit'), 'local', 'the session\'s setting is as before');
	$_->quit foreach $session, $other;
}

# The process that would flush asynchronous commits, stopped while it sleeps.
sub stop_wal_writer
{
	my $wal_writer;

	$node->poll_query_until('postgres', q{SELECT wait_event = 'WalWriterMain' FROM pg_stat_activity WHERE backend_type = 'walwriter'})
	  or die 'the WAL writer does not sleep';
	$wal_writer = $node->safe_psql('postgres', q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'walwriter'});
	kill 'STOP', $wal_writer;
	return $wal_writer;
}
