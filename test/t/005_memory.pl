# Goal: a backend does not grow with the calls it makes, however many, in however many transactions; and within one
# statement it grows by no more than what the server itself keeps of each row version.
#
# Method: one session makes 190,000 calls, in loops on the server, and reads its own memory contexts in between: single
# calls of every kind, calls made again, and errors caught in subtransactions. After a warm-up (caches, plans) the total
# may not grow by more than 256 kB over all the rest, less than two bytes a call: the smallest allocation that one call
# in ten leaves behind would be seen. Then two statements of 10,000 calls each. The first is measured from within,
# between its 2,000th and its last call: of each version of a row that one transaction makes and replaces, the server
# keeps a combo command id (combocid.c, some 40 bytes), hence the bound of 200 bytes a call there. At last one call for
# 20,000 holds, and the sweep of all that are open.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;
use LedgerServer;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('memory', "autovacuum_naptime = 1s\nsynchronous_commit = off\n");

$node->safe_psql(
	'postgres', q{
	CREATE EXTENSION credit_ledger;
	-- Autovacuum, when it truncates a table, has it locked, which ends a sweep.
	ALTER TABLE credit_ledger_open SET (vacuum_truncate = off);

	CREATE FUNCTION memory_of_this_backend() RETURNS bigint LANGUAGE sql VOLATILE AS
	  'SELECT sum(total_bytes)::bigint FROM pg_backend_memory_contexts';

	-- Ten calls: three settled holds, the same calls again, one refused in a subtransaction.
	CREATE PROCEDURE ten_calls(key text) LANGUAGE plpgsql AS $$
	DECLARE
	  charged text := (credit_authorize('acme', 5, key || ' a')).authorization_id;
	  given_back text := (credit_authorize('acme', 5, key || ' b', metadata => '{"a": 1}')).authorization_id;
	BEGIN
	  PERFORM credit_commit(charged, 3);
	  PERFORM credit_revert(given_back, 'not sent');
	  PERFORM credit_refund(charged, key);
	  PERFORM credit_authorize('acme', 5, key || ' a');
	  PERFORM credit_commit(charged, 3);
	  PERFORM credit_revert(given_back);
	  PERFORM credit_balance('acme');
	  BEGIN
		PERFORM credit_commit(given_back);
		RAISE 'a hold that was given back was charged';
	  EXCEPTION WHEN SQLSTATE 'LC006' THEN
	  END;
	END
	$$;

	-- Calls in transactions of a hundred each.
	CREATE PROCEDURE many_calls(label text, calls integer) LANGUAGE plpgsql AS $$
	BEGIN
	  FOR i IN 1 .. calls / 10 LOOP
		CALL ten_calls(label || i);
		IF i % 10 = 0 THEN
		  COMMIT;
		END IF;
	  END LOOP;
	END
	$$;

	-- One call for so many holds of one credit.
	CREATE FUNCTION many_at_once(label text, holds integer) RETURNS SETOF text LANGUAGE sql AS $$
	  SELECT a.authorization_id
	  FROM (SELECT array_agg('acme'::text) AS orgs, array_agg(1::bigint) AS amounts, array_agg(label || i) AS keys
			FROM generate_series(1, holds) i) v,
		   credit_authorize_many(v.orgs, v.amounts, idempotency_keys => v.keys) a
	$$;

	SELECT credit_grant('acme', 1000000000, 'g-1')});

my ($before, $after) = @{
	rows($node, q{
		CALL many_calls('warm-up ', 10000);
		SELECT memory_of_this_backend();
		CALL many_calls('', 200000);
		SELECT memory_of_this_backend()})
};
note "many transactions: $before bytes before, $after after";
cmp_ok($after - $before, '<', 256 * 1024, 'memory does not grow over 200,000 calls');

my ($early, $late, $ended, undef, $repeated) = split /[\n|]/, $node->safe_psql(
	'postgres', q{
	CREATE TEMP TABLE measured AS
	  SELECT i, CASE WHEN i IN (2000, 10000) THEN memory_of_this_backend() END AS memory
	  FROM generate_series(1, 10000) i, LATERAL credit_authorize('acme', 1, idempotency_key => 'one statement ' || i);
	SELECT sum(memory) FILTER (WHERE i = 2000), sum(memory) FILTER (WHERE i = 10000) FROM measured;
	SELECT memory_of_this_backend();
	SELECT count(*) = 10000
	FROM generate_series(1, 10000) i, LATERAL credit_authorize('acme', 1, idempotency_key => 'once more ' || i);
	SELECT memory_of_this_backend()});
note "one statement: $early bytes after 2,000 calls, $late after 10,000";
note "$ended once it had ended, $repeated after another one";
cmp_ok($late - $early, '<', 8000 * 200, 'within a statement, memory grows by less than 200 bytes a call');
cmp_ok($repeated - $ended, '<', 256 * 1024, 'all of it is given back when the statement ends');

($before, $after) = @{
	rows($node, q{
		SELECT count(*) FROM many_at_once('some at once ', 1000) \g /dev/null
		SELECT memory_of_this_backend();
		SELECT count(*) FROM many_at_once('many at once ', 20000) \g /dev/null
		SELECT memory_of_this_backend()})
};
cmp_ok($after - $before, '<', 256 * 1024, 'a call for 20,000 leaves nothing behind');

($before, $after) = @{
	rows($node, q{
		SELECT credit_sweep(now() + interval '1 day', 1000) \g /dev/null
		SELECT memory_of_this_backend();
		SELECT credit_sweep(now() + interval '1 day', 100000) \g /dev/null
		SELECT memory_of_this_backend()})
};
cmp_ok($after - $before, '<', 256 * 1024, 'sweeping 40,000 holds leaves nothing behind');
is($node->safe_psql('postgres', q{SELECT held FROM credit_balance('acme')}), '0', 'none of them is left');

# Holds that a sweep passes over cost no memory either. What the process has ever had is told by the kernel; the pages of
# the table are part of it from the first of the two sweeps on.
$node->safe_psql('postgres', q{SELECT count(*) FROM many_at_once('locked ', 100000) \g /dev/null});
my $lock = $node->background_psql('postgres');
my $sweeping = $node->background_psql('postgres');
my $peak = sub {
	my $pid = $sweeping->query_safe('SELECT pg_backend_pid()');
	return slurp_file("/proc/$pid/status") =~ /^VmHWM:\s+(\d+) kB/m ? $1 : die 'no VmHWM';
};
$lock->query_safe(q{BEGIN; SELECT FROM credit_account WHERE org_id = 'acme' FOR UPDATE});
$sweeping->query_safe(q{SET enable_seqscan = off; SELECT count(timeout_action) FROM (SELECT * FROM credit_ledger_open ORDER BY expires_at) o});
$sweeping->query_safe(q{SELECT credit_sweep(now() + interval '1 day', 1)});
$before = $peak->();
is($sweeping->query_safe(q{SELECT credit_sweep(now() + interval '1 day', 100000)}), '0', 'a locked account is passed over');
$after = $peak->();
note "passing over 100,000 holds: $before kB before, $after after";
cmp_ok($after - $before, '<', 4096, 'passing over 100,000 holds takes no memory');
$lock->quit;
$sweeping->quit;

is_sound($node, 'the ledger is sound');
$node->stop;
done_testing();
