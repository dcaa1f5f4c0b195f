# Goal: a session that has the library loaded, its own caches filled and plans kept notices when the extension is
# dropped and created again, by itself or by another session, in whatever schema.
#
# Method: one session works on and on with prepared statements and a PL/pgSQL function; around it the extension goes
# and comes. On a new ledger it must get the same answers each time.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;
use LedgerServer;
use PostgreSQL::Test::Cluster;
use Test::More;

my $node = new_server('reinstallation', '');
$node->safe_psql(
	'postgres', q{
	CREATE EXTENSION credit_ledger;
	CREATE SCHEMA elsewhere});

my $session = $node->background_psql('postgres', on_error_stop => 0);
$session->query_safe(q{
	SET search_path = public, elsewhere;
	PREPARE grant_to(text, bigint, text) AS SELECT entry_no, balance_after, replayed FROM credit_grant($1, $2, $3);
	PREPARE hold(text, bigint, text) AS SELECT available, replayed FROM credit_authorize($1, $2, $3);
	PREPARE settle(text) AS
	  SELECT c.status::text, c.amount, c.replayed
	  FROM credit_ledger l, credit_commit(l.authorization_id) c WHERE l.campaign_id = $1;

	CREATE FUNCTION pg_temp.one_campaign(name text) RETURNS text LANGUAGE plpgsql AS $$
	DECLARE
	  id text := (credit_authorize('acme', 10, name)).authorization_id;
	BEGIN
	  PERFORM credit_commit(id, 6);
	  RETURN (SELECT l.amount || ' of ' || l.authorized_amount FROM credit_ledger l WHERE l.authorization_id = id);
	END
	$$;

	CREATE FUNCTION pg_temp.sqlstate_of(statement text) RETURNS text LANGUAGE plpgsql AS $$
	BEGIN
	  EXECUTE statement;
	  RETURN '00000';
	EXCEPTION WHEN OTHERS THEN
	  RETURN SQLSTATE;
	END
	$$});

starts_afresh('a new session');

$node->safe_psql('postgres', 'DROP EXTENSION credit_ledger CASCADE');
answers(q{SELECT pg_temp.sqlstate_of($$SELECT credit_balance('acme')$$)}, '42883', 'dropped by another session');
$node->safe_psql('postgres', 'CREATE EXTENSION credit_ledger');
starts_afresh('created again by another session');

$node->safe_psql('postgres', 'DROP EXTENSION credit_ledger CASCADE; CREATE EXTENSION credit_ledger SCHEMA elsewhere');
starts_afresh('moved to another schema by another session');

$session->query_safe('SET client_min_messages = warning; DROP EXTENSION credit_ledger CASCADE; CREATE EXTENSION credit_ledger');
starts_afresh('created again by itself');

$session->query_safe('BEGIN; DROP EXTENSION credit_ledger CASCADE; CREATE EXTENSION credit_ledger SCHEMA elsewhere');
$session->query_safe(q{SELECT credit_grant('acme', 1000, 'g-1')});
answers(q{SELECT balance FROM credit_balance('acme')}, '1000', 'created again in a transaction: it sees the new one');
$session->query_safe('ROLLBACK');
answers(q{EXECUTE grant_to('acme', 100, 'g-7')}, '19|604|f', 'and rolled back: the old one is there');

$session->query_safe('BEGIN; SAVEPOINT before; DROP EXTENSION credit_ledger CASCADE; ROLLBACK TO before');
answers(q{EXECUTE grant_to('acme', 100, 'g-8')}, '20|704|f', 'dropped in a savepoint that was rolled back');
$session->query_safe('COMMIT');

# Other ways in which another session replaces what this one has looked up.
$node->safe_psql(
	'postgres', q{
	VACUUM FULL credit_account;
	VACUUM FULL credit_ledger_open;
	VACUUM FULL credit_entry_default;
	REINDEX TABLE credit_idempotency;
	CLUSTER credit_ledger_settled_default USING credit_ledger_settled_default_org_id_created_at_idx;
	ALTER INDEX credit_account_pkey RENAME TO credit_account_by_org_id;
	ALTER SCHEMA public RENAME TO former_public;
	ALTER DATABASE postgres SET search_path = former_public});
$session->query_safe('SET search_path = former_public');
answers(q{EXECUTE grant_to('acme', 100, 'g-9')}, '21|804|f', 'tables rewritten, an index and the schema renamed');
answers(q{EXECUTE hold('acme', 10, 'c-9')}, '794|f', 'a hold after that');
answers(q{EXECUTE settle('c-9')}, 'committed|10|f', 'its commit');

$session->quit;
is_sound($node, 'the ledger is sound', schema => 'former_public');

# Functions in PL/pgSQL know the schema by name; one that is a variable's, too; one that needs quotes, with all that a pattern
# could trip over.
my $former = 'former_public';
foreach my $name ('former_public', 'worker', '100%s (a.b)')
{
	$node->safe_psql('postgres', qq{ALTER SCHEMA $former RENAME TO "$name"}) if $name ne $former;
	$former = $name;
	$node->safe_psql('postgres', qq{SET search_path = "$name"; SELECT credit_ledger_internal.follow_schema()});
	is( $node->safe_psql(
			'postgres', qq{
			SET search_path = "$name";
			SELECT credit_ledger_internal.follow_schema();
			SELECT count(credit_maintain());
			SELECT count(*) > 5 FROM credit_health();
			SELECT count(*) FROM credit_create_partitions(1);
			SELECT count(*) FROM credit_verify()}),
		"f\n1\nt\n" . ($name eq 'former_public' ? 2 : 0) . "\n0",
		"maintenance, health and partitions follow the schema to $name");
}
$node->safe_psql('postgres', 'ALTER SCHEMA "100%s (a.b)" RENAME TO former_public');
indexes_are_sound($node, 'every index has every row', schema => 'former_public');
$node->stop;
done_testing();

sub answers
{
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($sql, $expected, $name) = @_;

	return is($session->query_safe($sql), $expected, $name);
}

# Passes if the session finds a new ledger and gets the right answers. Six calls of each kind make plans generic.
sub starts_afresh
{
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($name) = @_;
	my $answers = '';

	$answers .= $session->query_safe("EXECUTE grant_to('acme', 100, 'g-$_')") . "\n" foreach 1 .. 6;
	$answers .= $session->query_safe("EXECUTE hold('acme', 10, 'c-$_')") . "\n" foreach 1 .. 6, 6;
	$answers .= $session->query_safe("EXECUTE settle('c-$_')") . "\n" foreach 1 .. 6, 6;
	$answers .= $session->query_safe("SELECT pg_temp.one_campaign('one $_')") . "\n" foreach 1 .. 6;
	is( $answers,
		join('', map { "$_|${_}00|f\n" } 1 .. 6)
		  . join('', map { 600 - 10 * $_ . "|f\n" } 1 .. 6) . "540|t\n"
		  . "committed|10|f\n" x 6 . "committed|10|t\n"
		  . "6 of 10\n" x 6,
		$name);
	is($session->query_safe('SELECT * FROM credit_verify()'), '', "$name: the ledger is sound");
}
