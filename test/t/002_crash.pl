# Goal: what the ledger answered survives a crash, whole; what it did not answer is there whole or not at all, and the
# caller who got no answer asks again with the same key.
#
# Method: four clients work without pause on three organisations: grants, authorizations, commits (in parts too, of holds
# that are raised), reverts, refunds and charges, each call alone in its transaction, several calls in one transaction with a row of the application's own, and calls
# for many. A client notes a call down when its transaction was answered. In the middle of that one backend is killed,
# whereupon the server throws all others out and recovers by itself, or every process of the server is. After recovery,
# round after round: each noted call is there as answered or in a later state, the application's rows are there if and
# only if the authorizations that were made with them are, repeating every authorization gives the one that is stored,
# and credit_verify() finds nothing. Half of the rounds run with early lock release, which must not lose an answer
# either.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;
use LedgerServer;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $CLIENTS = 4;

my $directory = PostgreSQL::Test::Utils::tempdir;
my $node = new_server(
	'crash', q{
	shared_preload_libraries = 'credit_ledger'
	fsync = on
	recovery_init_sync_method = syncfs
	restart_after_crash = on
	log_statement = none
	autovacuum_naptime = 1s
	checkpoint_timeout = 30s
});

$node->safe_psql(
	'postgres', q{
	CREATE EXTENSION credit_ledger;
	CREATE EXTENSION amcheck;
	SELECT credit_grant('org-' || i, 1000000000, 'first') FROM generate_series(1, 3) i;

	-- The application's own rows, written in the transactions of several calls.
	CREATE TABLE campaign_send (authorization_id text);

	-- What the clients noted down.
	CREATE TABLE answered_authorization (authorization_id text, status text, amount bigint, refunded_amount bigint);
	CREATE TABLE answered_part (authorization_id text, total bigint);
	CREATE TABLE answered_entry (org_id text, entry_no bigint, balance_after bigint)});

my $round = 0;
foreach my $early_lock_release (qw(off on))
{
	$node->safe_psql('postgres',
		"ALTER DATABASE postgres SET credit_ledger.early_lock_release = $early_lock_release");
	foreach my $kill (\&kill_one_backend, \&kill_server, \&kill_one_backend, \&kill_server)
	{
		$round++;
		subtest "round $round, early_lock_release = $early_lock_release" => sub {
			my @clients = map { start_client("r$round-c$_") } 1 .. $CLIENTS;

			wait_for_settled("r$round-%", 90 + 10 * $round);
			$kill->($node);
			finish_client($_) foreach @clients;
			$node->poll_query_until('postgres', undef, '') or die 'the server does not recover';
			load_answers(@clients);
			check_answers();
		};
	}
}

indexes_are_sound($node, 'every index has every row');
$node->stop;
done_testing();

# Starts a client that notes each answered call in a file of its own.
sub start_client
{
	my ($name) = @_;
	my $client = {
		name => $name,
		script => "$directory/$name.sql",
		answers => "$directory/$name.out",
		errors => "$directory/$name.err"
	};

	append_to_file($client->{script}, join('', map { client_calls($name, $_) } 1 .. 5000));
	$client->{psql} = IPC::Run::start(
		[ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('postgres'), '-f', $client->{script} ],
		'>', $client->{answers}, '2>', $client->{errors});
	return $client;
}

# One turn of a client: calls alone, then a transaction of several. Notes come after the answer they speak of.
sub client_calls
{
	my ($client, $turn) = @_;
	my $key = "$client-$turn";
	my $org = 'org-' . (1 + $turn % 3);
	my $next_org = 'org-' . (2 + $turn % 3);
	$next_org = $org if $next_org eq 'org-4';

	return qq{
SELECT authorization_id AS id FROM credit_authorize('$org', 7, idempotency_key => '$key-a') \\gset
\\echo authorization :id authorized 7 0
SELECT status FROM credit_commit(:'id', 5) \\gset
\\echo authorization :id committed 5 0
SELECT entry_no FROM credit_refund(:'id', '$key-a', 2) \\gset
\\echo authorization :id committed 5 2
SELECT authorization_id AS id FROM credit_authorize('$org', 3, idempotency_key => '$key-b') \\gset
\\echo authorization :id authorized 3 0
SELECT status FROM credit_revert(:'id') \\gset
\\echo authorization :id reverted 3 0
SELECT authorization_id AS id FROM credit_authorize('$org', 9, idempotency_key => '$key-g') \\gset
SELECT status FROM credit_commit(:'id', 4, final => false) \\gset
\\echo part :id 4
SELECT status FROM credit_extend(:'id', amount => 12) \\gset
SELECT status FROM credit_commit(:'id', 10, final => false) \\gset
\\echo part :id 10
SELECT status FROM credit_commit(:'id', 11) \\gset
\\echo authorization :id committed 11 0
SELECT authorization_id AS id FROM credit_charge('$org', 6, idempotency_key => '$key-h') \\gset
\\echo authorization :id committed 6 0
SELECT entry_no, balance_after FROM credit_grant('$org', 4, '$key') \\gset
\\echo entry $org :entry_no :balance_after
BEGIN;
SELECT authorization_id AS first FROM credit_authorize('$org', 11, idempotency_key => '$key-c') \\gset
SELECT authorization_id AS second FROM credit_authorize('$next_org', 13, idempotency_key => '$key-d') \\gset
INSERT INTO campaign_send VALUES (:'first'), (:'second');
SELECT status FROM credit_commit(:'first') \\gset
SELECT status FROM credit_revert(:'second') \\gset
COMMIT;
\\echo authorization :first committed 11 0
\\echo authorization :second reverted 13 0
SELECT min(authorization_id) FILTER (WHERE amount = 1) AS first,
	   min(authorization_id) FILTER (WHERE amount = 2) AS second
FROM credit_authorize_many('{$next_org,$org}', '{1,2}', NULL, '{$key-e,$key-f}') \\gset
\\echo authorization :first authorized 1 0
\\echo authorization :second authorized 2 0
SELECT count(*) FROM credit_commit_many(ARRAY[:'second', :'first']) \\gset
\\echo authorization :first committed 1 0
\\echo authorization :second committed 2 0
};
}

# Waits until so many authorizations of the clients whose keys match are settled, some of each client.
sub wait_for_settled
{
	my ($keys, $number) = @_;

	$node->poll_query_until('postgres',
		"SELECT count(*) >= $number AND count(DISTINCT substring(idempotency_key FROM '^r[0-9]+-c[0-9]+')) = $CLIENTS
		 FROM credit_ledger_settled WHERE idempotency_key LIKE '$keys'")
	  or die 'the clients do not get on';
}

# The server throws all other sessions out and recovers by itself.
sub kill_one_backend
{
	my ($node) = @_;
	my $backend = $node->safe_psql('postgres',
		q{SELECT min(pid) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()});

	kill 'KILL', $backend;
}

# The client must have been cut off in the middle of its work.
sub finish_client
{
	my ($client) = @_;

	$client->{psql}->finish;
	like(slurp_file($client->{errors}),
		qr/connection to server was lost|terminating connection|server closed the connection|could not send data/,
		"client $client->{name} was cut off");
}

sub load_answers
{
	my (@clients) = @_;
	my %rows = (authorization => '', part => '', entry => '');

	foreach my $answer (map { split /\n/, slurp_file($_->{answers}) } @clients)
	{
		my ($subject, @values) = split / /, $answer;

		# psql shows the row itself where the connection breaks between the row and its \gset.
		next unless exists $rows{$subject};
		$rows{$subject} .= join("\t", @values) . "\n";
	}
	cmp_ok(($rows{$_} =~ tr/\n//), '>=', 10, "answers about each $_ were noted") foreach sort keys %rows;
	$node->safe_psql('postgres',
		join('', map { "COPY answered_$_ FROM stdin;\n$rows{$_}\\.\n" } sort keys %rows));
}

sub check_answers
{
	is( $node->safe_psql(
			'postgres', q{
			SELECT a.*, l.status, l.amount, l.refunded_amount
			FROM answered_authorization a
			LEFT JOIN credit_ledger l USING (authorization_id)
			WHERE (a.status = 'authorized' AND l.authorized_amount = a.amount
				   OR a.status = l.status::text AND l.amount = a.amount
					  AND l.refunded_amount >= a.refunded_amount) IS NOT TRUE}),
		'', 'every answered authorization is there, as answered or in a later state');
	is( $node->safe_psql(
			'postgres', q{
			SELECT p.*, l.status, l.amount, l.committed_amount
			FROM answered_part p
			LEFT JOIN credit_ledger l USING (authorization_id)
			WHERE (l.committed_amount >= p.total AND (l.status = 'authorized' OR l.amount >= p.total)) IS NOT TRUE}),
		'', 'every answered part is charged');
	is( $node->safe_psql(
			'postgres', q{
			SELECT a.*, e.balance_after
			FROM answered_entry a
			LEFT JOIN credit_entry e USING (org_id, entry_no)
			WHERE e.balance_after IS DISTINCT FROM a.balance_after}),
		'', 'every answered entry is there');
	is( $node->safe_psql(
			'postgres', q{
			SELECT authorization_id, l.idempotency_key, l.status
			FROM campaign_send s
			FULL JOIN (SELECT * FROM credit_ledger WHERE idempotency_key ~ '-[cd]$') l USING (authorization_id)
			WHERE s.authorization_id IS NULL OR l.status IS NULL OR l.status = 'authorized'}),
		'', 'the application has its rows if and only if the ledger has what was done in the same transaction');
	is( $node->safe_psql(
			'postgres', q{
			SELECT l.authorization_id, again.*
			FROM credit_ledger l
			JOIN credit_idempotency i USING (authorization_id),
				 LATERAL credit_authorize(i.org_id, i.amount, idempotency_key => i.idempotency_key) again
			WHERE i.operation = 'authorize'
			AND (again.replayed AND again.authorization_id = l.authorization_id) IS NOT TRUE}),
		'', 'every authorization made again is the one that is stored');
	is_sound($node, 'the ledger is sound');
}
