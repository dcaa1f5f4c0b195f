# Goal: the worker acts with the rights of the ledger's owner, so it runs no code on the ledger's tables that belongs to a
# role with less rights: it leaves such a database alone, and health names the function.
#
# Method: a role that may put triggers on the tables, whatever gave it that right, tries to become superuser by the worker's
# hand: by a trigger, by the function of an index and of a constraint. The same with a role that is the owner's equal.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;
use LedgerServer;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $campaigns = 0;
my $node = new_server('foreign_code', q{
	shared_preload_libraries = 'credit_ledger'
	credit_ledger.sweep_interval = '100ms'
});
$node->safe_psql('postgres', q{
	CREATE EXTENSION credit_ledger;
	CREATE ROLE app;
	GRANT ALL ON SCHEMA public TO app;
	SELECT credit_grant('acme', 1000, 'g')});
settles('nothing is in the way');

$node->safe_psql('postgres', q{
	GRANT TRIGGER ON credit_ledger_open, credit_ledger_settled_default TO app;
	SET ROLE app;
	CREATE FUNCTION take_over() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
	  ALTER ROLE app SUPERUSER;
	  RETURN coalesce(new, old);
	END $$;
	CREATE FUNCTION check_over(text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$
	BEGIN
	  ALTER ROLE app SUPERUSER;
	  RETURN true;
	EXCEPTION WHEN OTHERS THEN
	  RETURN true;
	END $$;
	CREATE TRIGGER take_over BEFORE DELETE ON credit_ledger_open FOR EACH ROW EXECUTE FUNCTION take_over()});
left_alone('a trigger', 'trigger take_over on table public.credit_ledger_open calls public.take_over(), which belongs to app');
$node->safe_psql('postgres', q{ALTER FUNCTION take_over() OWNER TO postgres; DROP TRIGGER take_over ON credit_ledger_open});
settles('without the trigger it goes on');

$node->safe_psql('postgres', 'ALTER TABLE credit_ledger_settled_default ADD CONSTRAINT over CHECK (public.check_over(org_id)) NOT VALID');
left_alone('a constraint', 'constraint over on table public.credit_ledger_settled_default calls public.check_over(text), which belongs to app');
$node->safe_psql('postgres', 'ALTER TABLE credit_ledger_settled_default DROP CONSTRAINT over');
$node->safe_psql('postgres', 'CREATE INDEX over ON credit_entry_default (public.check_over(org_id)) WHERE false');
left_alone('an index', 'index public.over calls public.check_over(text), which belongs to app');
$node->safe_psql('postgres', 'DROP INDEX over');

$node->safe_psql('postgres', q{
	CREATE ROLE dba;
	GRANT postgres TO dba;
	CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN new; END';
	ALTER FUNCTION note() OWNER TO dba;
	CREATE TRIGGER note BEFORE INSERT ON credit_ledger_settled_default FOR EACH ROW EXECUTE FUNCTION note()});
settles('a function of somebody who has the owner\'s rights anyway');

# The domain of a column that was added is the application's, and so is what it checks.
$node->safe_psql('postgres', q{
	CREATE DOMAIN code AS text;
	CREATE DOMAIN short_code AS code;
	ALTER DOMAIN code OWNER TO app;
	ALTER TABLE credit_account ADD COLUMN code short_code;
	SET ROLE app;
	ALTER DOMAIN code ADD CONSTRAINT over CHECK (public.check_over(VALUE)) NOT VALID});
left_alone('a domain', 'constraint over calls public.check_over(text), which belongs to app');
$node->safe_psql('postgres', 'ALTER TABLE credit_account DROP COLUMN code');
settles('without the column it goes on');

# So are the domains that a condition of his names, in whatever they are wrapped; the trigger's function may be anybody's.
$node->safe_psql('postgres', q{
	GRANT TRIGGER ON credit_ledger_open TO app;
	SET ROLE app;
	CREATE TYPE codes AS (list short_code[]);
	CREATE TRIGGER take_over BEFORE DELETE ON credit_ledger_open
	FOR EACH ROW WHEN (ROW(ARRAY[OLD.org_id])::codes IS NULL) EXECUTE FUNCTION pg_catalog.suppress_redundant_updates_trigger()});
left_alone('a condition of a trigger', 'constraint over calls public.check_over(text), which belongs to app');
$node->safe_psql('postgres', 'DROP TRIGGER take_over ON credit_ledger_open');
settles('without the condition it goes on');

# What comes while a sweep is under way is not run either: here it waits at a gate of the superuser's, before it has touched the
# leaf that a trigger is put on, or the table that maintenance writes.
$node->safe_psql('postgres', q{
	GRANT TRIGGER ON credit_entry_default, credit_stat TO app;
	CREATE TABLE gate AS SELECT false AS closed;
	CREATE FUNCTION wait_at_gate() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
	  WHILE EXISTS (SELECT FROM public.gate WHERE closed) LOOP
		PERFORM pg_sleep(0.05);
	  END LOOP;
	  RETURN old;
	END $$;
	CREATE TRIGGER wait_at_gate BEFORE DELETE ON credit_ledger_open
	FOR EACH ROW WHEN (old.org_id = 'a') EXECUTE FUNCTION wait_at_gate();
	SET ROLE app;
	CREATE FUNCTION be_quick() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN ALTER ROLE app SUPERUSER; RETURN new; END';
	RESET ROLE;
	SELECT credit_grant('a', 10, 'g')});
foreach my $table (qw(credit_entry_default credit_stat))
{
	$node->safe_psql('postgres', qq{
		UPDATE gate SET closed = true;
		SELECT credit_authorize('a', 1, '$table', timeout => '1 hour', timeout_action => 'revert');
		SELECT credit_authorize('acme', 1, '$table', timeout => '1 hour');
		UPDATE credit_ledger SET expires_at = now() WHERE status = 'authorized'});
	$node->poll_query_until('postgres', q{
		SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'credit_ledger sweeper' AND wait_event = 'PgSleep'})
	  or die 'nobody at the gate';
	$node->safe_psql('postgres', qq{
		SET ROLE app;
		CREATE TRIGGER be_quick BEFORE INSERT ON $table FOR EACH ROW EXECUTE FUNCTION be_quick();
		RESET ROLE;
		UPDATE gate SET closed = false});
	left_alone("a trigger on $table in the middle of a sweep",
		"trigger be_quick on table public.$table calls public.be_quick(), which belongs to app");
	is($node->safe_psql('postgres', q{SELECT rolsuper FROM pg_roles WHERE rolname = 'app'}), 'f', 'and does not run');
	$node->safe_psql('postgres', "DROP TRIGGER be_quick ON $table");
	settles('without the trigger it goes on');
}
$node->safe_psql('postgres', 'DROP TRIGGER wait_at_gate ON credit_ledger_open');

# To the owner of the tables it is his own code; but maintenance acts as the owner of its function.
$node->safe_psql('postgres', q{
	ALTER TABLE credit_stat OWNER TO app;
	SET ROLE app;
	CREATE TRIGGER take_over BEFORE INSERT ON credit_stat FOR EACH ROW EXECUTE FUNCTION take_over();
	RESET ROLE;
	ALTER FUNCTION take_over() OWNER TO app});
left_alone('a table that was given away', 'trigger take_over on table public.credit_stat calls public.take_over(), which belongs to app');
$node->safe_psql('postgres', 'ALTER TABLE credit_account OWNER TO app');
$node->poll_query_until('postgres', q{SELECT last_error LIKE 'permission denied%' FROM credit_worker_status()}) or die 'it has its rights still';
is($node->safe_psql('postgres', q{SELECT what_to_do FROM credit_health() WHERE check_name = 'owner'}),
	'SELECT credit_ledger_internal.follow_owner(); -- as a superuser', 'health says what to type');
$node->safe_psql('postgres', 'DROP TRIGGER take_over ON credit_stat; SELECT credit_ledger_internal.follow_owner()');
settles('the whole ledger is given away');

is($node->safe_psql('postgres', q{SELECT rolsuper FROM pg_roles WHERE rolname = 'app'}), 'f', 'nobody became superuser');
is_sound($node, 'the ledger is sound');
$node->stop;
done_testing();

sub hold
{
	$campaigns++;
	$node->safe_psql('postgres', "SELECT credit_authorize('acme', 1, 'c-$campaigns', timeout => '1 ms')");
}

sub settles
{
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($name) = @_;

	hold();
	ok($node->poll_query_until('postgres', q{SELECT count(*) = 0 FROM credit_ledger WHERE status = 'authorized'}), $name) or die;
}

sub left_alone
{
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($name, $reason) = @_;

	ok($node->poll_query_until('postgres', "SELECT left_alone_because = '$reason' FROM credit_worker_status()"), "$name: left alone")
	  or diag($node->safe_psql('postgres', 'SELECT left_alone_because FROM credit_worker_status()'));
	hold();
	my $swept = $node->safe_psql('postgres', 'SELECT clock_timestamp()');
	$node->poll_query_until('postgres', "SELECT last_sweep_at > '$swept' FROM credit_worker_status()") or die 'nobody looks';
	is($node->safe_psql('postgres', "SELECT status FROM credit_ledger WHERE campaign_id = 'c-$campaigns'"), 'authorized', "$name: nothing is settled");
}
