# Goal: whoever works on the ledger's tables has nothing to fear from the worker, and no organisation is blamed for it: a
# table that is locked ends the round at once, is shown, and the next round comes; nobody waits long for a sweeper, and no
# deadlock ends otherwise than with the sweeper giving way.
#
# Method: sessions that lock the tables, one of their leaves, or all of them in the order opposite to the worker's, while
# holds of thirty organisations have expired and the worker looks every tenth of a second.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;
use LedgerServer;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $EXPIRED = q{SELECT count(*) FROM credit_ledger WHERE status = 'authorized' AND expires_at < now()};
my $campaigns = 0;
my $node = new_server(
	'locks', q{
	shared_preload_libraries = 'credit_ledger'
	credit_ledger.sweep_interval = '100ms'
	track_commit_timestamp = on
});
$node->safe_psql('postgres', q{
	CREATE EXTENSION credit_ledger;
	SELECT credit_grant('o-' || o, 1000000, 'first') FROM generate_series(1, 30) o});

subtest 'a table' => sub {
	foreach my $table (qw(credit_account credit_ledger_open credit_ledger_settled credit_entry))
	{
		my $lock = $node->background_psql('postgres');

		$lock->query_safe("BEGIN; LOCK TABLE $table IN SHARE MODE");
		shown($table);
		hold($lock);
		$lock->query_safe('COMMIT');
		$lock->quit;
		settled("$table is free again");
		# The sweep that settled them reports when it is over.
		ok($node->poll_query_until('postgres', q{SELECT status FROM credit_health() WHERE check_name = 'last_sweep'}, 'ok'),
			'health is well again');
	}
};

subtest 'a leaf, as by CREATE INDEX' => sub {
	my $lock = $node->background_psql('postgres');

	$lock->query_safe('BEGIN; CREATE INDEX ON credit_ledger_settled_default (reason)');
	hold();
	shown('credit_ledger_settled_default');
	is($node->safe_psql('postgres', q{SELECT status FROM credit_health() WHERE check_name = 'last_sweep'}), 'warning', 'health tells');
	$lock->query_safe('COMMIT');
	$lock->quit;
	settled('the leaf is free again');
};

subtest 'all tables, in any order, and DROP EXTENSION' => sub {
	my $longest = 0;

	hold();
	foreach my $round (1 .. 20)
	{
		my $began = time;

		$node->safe_psql('postgres', q{
			BEGIN;
			LOCK TABLE credit_alert;
			LOCK TABLE credit_entry_default;
			LOCK TABLE credit_ledger_settled_default;
			LOCK TABLE credit_ledger_open;
			LOCK TABLE credit_account;
			COMMIT});
		$longest = time - $began if time - $began > $longest;
		hold();
	}
	cmp_ok($longest, '<', 5, 'nobody waits for long');
	settled('and the worker comes to its turn');
	hold();
	my $began = time;
	$node->safe_psql('postgres', 'BEGIN; DROP EXTENSION credit_ledger CASCADE; ROLLBACK');
	cmp_ok(time - $began, '<', 5, 'the extension can be dropped');
	settled('and stays, since that was rolled back');
};

is($node->safe_psql('postgres', 'SELECT count(*) FROM credit_recent_failures()'), '0', 'no organisation was at fault');
unlike(slurp_file($node->logfile), qr/could not settle|deadlock detected/, 'nor does the log say so');

subtest 'somebody\'s trigger that takes long' => sub {
	$node->safe_psql('postgres', q{
		CREATE FUNCTION take_time() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.2); RETURN new; END';
		CREATE TRIGGER take_time BEFORE INSERT ON credit_ledger_settled_default FOR EACH ROW EXECUTE FUNCTION take_time()});
	hold();
	settled('all organisations get their turn');
	cmp_ok($node->safe_psql('postgres', qq{
			SELECT max(duration) FROM (
			  SELECT extract(epoch FROM pg_xact_commit_timestamp(xmin) - min(settled_at)) AS duration
			  FROM credit_ledger WHERE campaign_id = 'c-$campaigns' GROUP BY xmin) t}), '<', 4,
		'in transactions that are over long before the six seconds of them all');
	$node->safe_psql('postgres', 'DROP TRIGGER take_time ON credit_ledger_settled_default');
};

subtest 'what was settled is told' => sub {
	my $id = 'x' x 250;
	my $listener = $node->background_psql('postgres');

	$listener->query_safe('LISTEN credit_ledger_timeout');
	$node->safe_psql('postgres', qq{
		INSERT INTO credit_ledger (authorization_id, org_id, campaign_id, idempotency_key, status, amount, authorized_amount, timeout_action, created_at, expires_at)
		SELECT '$id' || n, 'o-1', n, n, 'authorized', 1, 1, 'revert', now(), now() - interval '1 second' FROM generate_series(101, 180) n;
		INSERT INTO credit_idempotency (org_id, operation, idempotency_key, amount, campaign_id, authorization_id, created_at)
		SELECT 'o-1', 'authorize', n, 1, n, '$id' || n, now() FROM generate_series(101, 180) n;
		SET session_replication_role = replica;
		UPDATE credit_account SET held = held + 80 WHERE org_id = 'o-1'});
	settled('eighty holds with long ids');
	my @payloads = heard($listener, 'credit_ledger_timeout', 1);
	is(scalar @payloads, 1, 'one notification of the organisation');
	is($node->safe_psql('postgres', qq{
			SELECT j->>'org_id', j->>'count', jsonb_array_length(j->'authorization_ids') BETWEEN 20 AND 79, j->'authorization_ids'->>0 LIKE '$id%'
			FROM (SELECT \$\$$payloads[0]\$\$::jsonb AS j) t}), 'o-1|80|t|t', 'with how many there were, and as many ids as fit');
	hold();
	settled('one hold of each of thirty organisations');
	@payloads = heard($listener, 'credit_ledger_timeout', 30);
	is(scalar @payloads, 30, 'thirty notifications');
	$listener->quit;
};

is_sound($node, 'the ledger is sound');
$node->stop;
done_testing();

# A hold of each organisation that expires at once.
sub hold
{
	my ($session) = @_;
	my $sql;

	$campaigns++;
	$sql = qq{SELECT count(credit_authorize('o-' || o, 1, 'c-$campaigns', timeout => '1 ms')) FROM generate_series(1, 30) o};
	defined $session ? $session->query_safe($sql) : $node->safe_psql('postgres', $sql);
}

# The status tells that the table is locked.
sub shown
{
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($table) = @_;

	ok($node->poll_query_until('postgres', qq{
			SELECT last_error_sqlstate = '55P03' AND last_error = 'somebody has table "$table" locked' FROM credit_worker_status()}),
		"$table is locked, and shown as such") or diag($node->safe_psql('postgres', 'SELECT * FROM credit_worker_status()'));
}

sub settled
{
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($name) = @_;

	ok($node->poll_query_until('postgres', $EXPIRED, '0'), $name) or die;
}
