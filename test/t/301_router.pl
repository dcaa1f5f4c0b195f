# Goal: a router answers as one server does, whichever shard an organisation is on.
# Method: two databases that share the organisations, and a router over both. Calls of every kind are made, and looked for in
# the shards. At last a shard does not answer. What a router offers, test/router/run holds against the contract.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;
use LedgerServer;
use PostgreSQL::Test::Utils;
use Test::More;

my $share = qx{pg_config --sharedir};
chomp $share;
plan skip_all => 'PL/Proxy is not installed: Debian has it as postgresql-NN-plproxy'
  unless -e "$share/extension/plproxy.control";

my $server = new_server('router', 'max_connections = 50');
my $host = $server->host;
my $port = $server->port;
my @shards = ('shard_0', 'shard_1');
my %router = (database => 'router');

# Connected by the router as the caller, whose password it need not know.
sub connection { return "host=$host port=$port dbname=$_[0]" }

sub configure
{
	my $connections = join ', ', map { "'" . connection($_) . "'" } @_;
	return $server->psql('router', "SELECT credit_router_configure(ARRAY[$connections], '5 seconds')");
}

for my $number (0 .. 1)
{
	$server->safe_psql('postgres', "CREATE DATABASE $shards[$number]");
	$server->safe_psql($shards[$number], 'CREATE EXTENSION credit_ledger');
}
$server->safe_psql('postgres', 'CREATE DATABASE router');
$server->safe_psql('router', 'CREATE EXTENSION credit_ledger_router CASCADE');

# ----------------------------------------------------------------------
# What can be configured
# ----------------------------------------------------------------------

like((configure(@shards))[2], qr/the databases are not the shards 0 to 1 of 2/, 'shards must claim to be what they are given as');
$server->safe_psql($shards[$_], "SELECT credit_shard_configure($_, 2)") for 0 .. 1;
like((configure(reverse @shards))[2], qr/the databases are not the shards/, 'in their order');
fails_with($server, '22023', "SELECT credit_router_configure('{a,b,c}')", 'three shards', %router);
fails_with($server, '22023', "SELECT credit_router_configure('{}')", 'no shard', %router);
fails_with($server, '22023', "SELECT credit_router_configure('{host=x password=y}')", 'a password that all can read', %router);
is((configure(@shards))[0], 0, 'two shards');
is((configure(@shards))[0], 0, 'again');
$server->safe_psql('router', q{CREATE ROLE guest; CREATE USER MAPPING FOR guest SERVER credit_router OPTIONS (user 'nobody');
	CREATE FOREIGN TABLE theirs (org_id text) SERVER credit_router_0 OPTIONS (table_name 'credit_account')});
is((configure(map { "$_ application_name=router" } @shards))[0], 0, 'in other words');
is($server->safe_psql('router', q{SELECT count(*), (SELECT count(*) FROM pg_user_mappings WHERE usename = 'guest') FROM theirs}), '0|1',
	'what somebody else made of a shard\'s server stays');

# ----------------------------------------------------------------------
# What is generated
# ----------------------------------------------------------------------

my ($made) = run_command([ 'psql', '-XqAt', '-d', $server->connstr($shards[0]), '-f', 'sql/router/generate.sql' ]);
is($made =~ s{\n+\z}{}r, slurp_file('sql/router/ledger.sql') =~ s/\n+\z//r, 'sql/router/ledger.sql is as sql/router/generate makes it');

# ----------------------------------------------------------------------
# Where calls go
# ----------------------------------------------------------------------

$server->safe_psql('router', q{SELECT credit_grant('org-' || n, 100, 'opening') FROM generate_series(1, 20) n});
is($server->safe_psql($shards[$_], "SELECT count(*) > 3 AND bool_and(credit_ledger_internal.organisation_hash(org_id) % 2 = $_) FROM credit_account"),
	't', "shard $_ has its organisations") for 0 .. 1;
is($server->safe_psql('router', 'SELECT count(*), sum(balance) FROM credit_account'), '20|2000', 'the router reads all tables');
is($server->safe_psql('router', q{SELECT count(DISTINCT tableoid) FROM credit_totals}), '2', 'totals are by shard');

is($server->safe_psql('router', q{
	SELECT bool_and(a.ord = s.n AND a.org_id = 'org-' || s.n AND a.amount = s.n AND a.campaign_id = 'c-' || s.n)
	FROM generate_series(1, 20) s (n)
	JOIN credit_authorize_many(ARRAY(SELECT 'org-' || n FROM generate_series(1, 20) n ORDER BY n),
	                           ARRAY(SELECT n::bigint FROM generate_series(1, 20) n ORDER BY n),
	                           ARRAY(SELECT 'c-' || n FROM generate_series(1, 20) n ORDER BY n)) a ON a.ord = s.n}),
	't', 'lists are split');
is($server->safe_psql('router', q{
	SELECT string_agg(ord::text, ' ') FROM credit_authorize_many(ARRAY(SELECT 'org-' || n FROM generate_series(1, 20) n ORDER BY n),
	  ARRAY(SELECT n::bigint FROM generate_series(1, 20) n ORDER BY n), ARRAY(SELECT 'c-' || n FROM generate_series(1, 20) n ORDER BY n))
	WHERE replayed}), join(' ', 1 .. 20), 'put together in the order of the arrays, and replayed');
is($server->safe_psql('router', q{
	SELECT ord, org_id, coalesce(sqlstate, '-') FROM credit_charge_many('{org-1,org-2,nobody,org-3,org-1}', '{1,1,1,1000,1}',
	  '{d-1,d-2,d-3,d-4,d-5}', skip_refused => true)}),
	"1|org-1|-\n2|org-2|-\n3|nobody|LC002\n4|org-3|LC001\n5|org-1|-", 'what is refused has its place');
fails_with($server, '22023', q{SELECT credit_charge_many('{org-1,org-2}', '{1}', '{e-1,e-2}')}, 'lists of two lengths', %router);
fails_with($server, '22004', q{SELECT credit_charge_many(NULL, '{1}', '{e-1}')}, 'no list', %router);
is($server->safe_psql('router', q{SELECT count(*) FROM credit_commit_many('{}')}), '0', 'an empty list');

my $row = q{UPDATE credit_ledger SET authorization_id = 'auth-abc123' WHERE campaign_id = 'c-7';
	UPDATE credit_idempotency SET authorization_id = 'auth-abc123' WHERE idempotency_key = 'c-7'};
$server->safe_psql($shards[$_], $row) for 0 .. 1;
is($server->safe_psql('router', q{
	SELECT count(*), sum(l.amount) FROM credit_ledger l, LATERAL credit_commit(l.authorization_id) c (id) WHERE l.status = 'authorized'}),
	'20|210', 'an authorization is found by its identifier');
is($server->safe_psql('router', q{SELECT org_id, status, replayed FROM credit_commit('auth-abc123')}), 'org-7|committed|t',
	'one of another form, too');
is($server->safe_psql('router', q{SELECT org_id, sqlstate FROM credit_commit_many('{auth-abc123,auth-nowhere}', skip_refused => true)}),
	"org-7|\n|LC003", 'in lists, too');
# Text of instants, in whatever style, is what was meant.
$server->safe_psql('postgres', "ALTER DATABASE $_ SET DateStyle = 'SQL, DMY'; ALTER DATABASE $_ SET IntervalStyle = 'sql_standard'") for @shards;
is($server->safe_psql('router', q{SET DateStyle = 'German'; SET IntervalStyle = 'iso_8601'; SET TimeZone = 'America/New_York';
	SELECT count(*) FROM generate_series(1, 20) n, credit_grant('org-' || n, 1, 'styled', expires_at => '2099-03-04 05:06:07.123456+00');
	SELECT count(*) FROM generate_series(1, 20) n, credit_authorize('org-' || n, 1, 'styled', timeout => '-1 day +30:00:00') a
	WHERE a.created_at > now() - interval '1 minute' AND a.expires_at - a.created_at = '6 hours'}), "20\n20", 'calls in a style of the session\'s');
is($server->safe_psql('router', q{SELECT count(*) FROM credit_lot WHERE expires_at = '2099-03-04 05:06:07.123456+00'}), '20',
	'an instant arrives as it was meant');
is($server->safe_psql('router', q{SET DateStyle = 'SQL, DMY'; SELECT count(*)
	FROM credit_authorize_many('{org-1,org-2}', '{1,1}', '{styled-2,styled-2}') a
	WHERE a.created_at BETWEEN now() - interval '1 minute' AND clock_timestamp()}), '2', 'in lists, too');
$server->safe_psql('router', q{SELECT count(credit_revert(authorization_id)) FROM credit_ledger WHERE campaign_id ~ 'styled' AND status = 'authorized'});
fails_with($server, 'LC003', q{SELECT credit_commit('auth-nowhere')}, 'one that is nowhere', %router);
fails_with($server, 'LC002', q{SELECT credit_balance('nobody')}, 'an organisation without account', %router);
fails_with($server, '22004', q{SELECT credit_balance(NULL)}, 'no organisation', %router);
fails_with($server, 'LC001', q{SELECT credit_charge('org-1', 1000, 'f-1')}, 'too much', %router);
like(($server->psql('router', q{SELECT credit_charge('org-1', 1000, 'f-1')}))[2],
	qr/insufficient credits for organisation "org-1".*Needed are 1000, available are/s, 'with message and detail of the shard');
fails_with($server, '0A000', q{SELECT credit_create_partitions()}, 'partitions are a shard\'s', %router);

is($server->safe_psql('router', q{SELECT count(*) FROM credit_verify()}), '0', 'all books are sound');
is($server->safe_psql('router', q{SELECT count(*) FROM credit_verify('org-1')}), '0', 'those of one organisation');
is($server->safe_psql('router', q{SELECT string_agg(DISTINCT shard::text, ' ') FROM credit_health()}), '0 1', 'health names the shard');
is($server->safe_psql('router', q{SELECT count(*) FROM credit_statement('org-1')}), '5', 'a statement');

# A wrong route is refused by the shard.
fails_with($server, 'LC010', q{SELECT credit_balance(org_id) FROM (SELECT 'org-' || n FROM generate_series(1, 20) n) o (org_id)},
	'half of the organisations are not this shard\'s', database => $shards[0]);

# ----------------------------------------------------------------------
# Privileges
# ----------------------------------------------------------------------

$server->safe_psql('router', q{CREATE ROLE shop LOGIN; SELECT credit_grant_privileges('shop', 'app')});
my @as_shop = (extra_params => [ '-U', 'shop' ]);
is($server->safe_psql('router', q{SELECT status FROM credit_authorize('org-1', 1, 'g-1')}, @as_shop), 'authorized', 'an application calls');
is($server->safe_psql('router', q{SELECT sqlstate FROM credit_commit_many('{auth-nowhere}', skip_refused => true)}, @as_shop),
	'LC003', 'and many in one');
like(($server->psql('router', q{SELECT credit_grant('org-1', 1, 'g-1')}, @as_shop))[2], qr/permission denied for function credit_grant/,
	'but gives no credits');
like(($server->psql('router', q{SELECT connection FROM credit_router_internal.partition}, @as_shop))[2], qr/permission denied/,
	'nor learns of the shards');

# ----------------------------------------------------------------------
# A shard that is down
# ----------------------------------------------------------------------

my $of_0 = $server->safe_psql($shards[0], 'SELECT min(org_id) FROM credit_account');
my $of_1 = $server->safe_psql($shards[1], 'SELECT min(org_id) FROM credit_account');
$server->safe_psql('postgres', "ALTER DATABASE $shards[1] ALLOW_CONNECTIONS false;
	SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '$shards[1]'");
is(($server->psql('router', "SELECT credit_balance('$of_1')"))[0], 3, 'its organisations get an error');
is($server->safe_psql('router', "SELECT org_id FROM credit_balance('$of_0')"), $of_0, 'the others do not notice');
$server->safe_psql('postgres', "ALTER DATABASE $shards[1] ALLOW_CONNECTIONS true");
is($server->safe_psql('router', "SELECT org_id FROM credit_balance('$of_1')"), $of_1, 'once it is back it goes on');

# One that hangs, as it does while its accounts are locked.
my $locker = $server->background_psql($shards[1]);
$locker->query_safe('BEGIN; LOCK TABLE credit_account');
like(($server->psql('router', "SELECT credit_charge('$of_1', 1, 'h-1')"))[2], qr/query timeout|statement timeout/, 'it hangs: an error within the time that was set');
is($server->safe_psql('router', "SELECT status FROM credit_charge('$of_0', 1, 'h-1')"), 'committed', 'the others do not notice');
$locker->quit;

# ----------------------------------------------------------------------
# One organisation moves
# ----------------------------------------------------------------------

$server->safe_psql($shards[1], 'CREATE TABLE arrived (relation text, line jsonb)');
my $lines = $server->safe_psql($shards[0], "COPY (SELECT * FROM credit_account_export('$of_0', 'shard 1')) TO STDOUT");
$server->safe_psql($shards[1], "COPY arrived FROM STDIN;\n$lines\n\\.\nSELECT credit_account_import('arrived'); DROP TABLE arrived;");
fails_with($server, 'LC010', "SELECT credit_balance('$of_0')", 'it has moved, and the router does not know yet', %router);
$server->safe_psql('router', "SELECT credit_router_moved('$of_0', 1)");
is($server->safe_psql('router', "SELECT status FROM credit_charge('$of_0', 1, 'i-1')"), 'committed', 'calls follow it');
is($server->safe_psql('router', "SELECT count(*) FROM credit_ledger l, LATERAL credit_revert_many(ARRAY[l.authorization_id],
	skip_refused => true) r WHERE l.org_id = '$of_0' AND r.sqlstate = 'LC006'"),
	$server->safe_psql('router', "SELECT count(*) FROM credit_ledger WHERE org_id = '$of_0' AND status = 'committed'"),
	'and by its identifiers, too');
$lines = $server->safe_psql($shards[1], "COPY (SELECT * FROM credit_account_export('$of_0', 'shard 0')) TO STDOUT");
$server->safe_psql($shards[0], "CREATE TABLE arrived (relation text, line jsonb); COPY arrived FROM STDIN;\n$lines\n\\.\nSELECT credit_account_import('arrived'); DROP TABLE arrived;");
$server->safe_psql('router', "SELECT credit_router_moved('$of_0', 0)");
is($server->safe_psql('router', "SELECT org_id FROM credit_balance('$of_0')"), $of_0, 'it comes back');

$server->stop;
done_testing();
