# Goal: two shards become four while they are at work: no answered call is lost or done twice, calls wait for short pauses only,
# and no shard keeps what is not its own. A router that is killed is not missed; a shard that is killed or frozen is missed by its
# own organisations alone.
# Method: servers of their own, with streaming standbys that scripts/double-shards promotes, step by step and some steps twice,
# while clients make calls of all kinds through pgbouncer and two routers, and repeat what was not answered (doubling_clients.py).
# What they say that every organisation must have is held against the shards.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;
use IPC::Run;
use LedgerServer;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

my $share = qx{pg_config --sharedir};
chomp $share;
plan skip_all => 'PL/Proxy is not installed: Debian has it as postgresql-NN-plproxy'
  unless -e "$share/extension/plproxy.control";

my $PAUSE = 20;      # seconds, on a busy machine
my $directory = PostgreSQL::Test::Utils::tempdir_short;
my $settings = "shared_preload_libraries = 'credit_ledger'\nmax_connections = 60\nshared_buffers = 16MB";
my @shards = map { new_server("shard_$_", $settings, allows_streaming => 1) } 0 .. 1;
my @standbys = map { PostgreSQL::Test::Cluster->new('shard_' . ($_ + 2)) } 0 .. 1;
my ($router, $other_router) = routers();

sub connection { return 'host=' . $_[0]->host . ' port=' . $_[0]->port . ' dbname=postgres' }

append_to_file("$directory/users", '"' . getpwuid($>) . qq{" ""\n});
append_to_file("$directory/servers", join "\n",
	'shards=(' . join(' ', map { "'" . connection($_) . "'" } @shards) . ')',
	'standbys=(' . join(' ', map { "'" . connection($_) . "'" } @standbys) . ')',
	"routers=('" . connection($router) . "' '" . connection($other_router) . "')", "timeout='5 seconds'", '');

sub double_shards { return double_shards_by('servers', @_) }

sub double_shards_by
{
	my ($file, $step, @arguments) = @_;
	my ($said, $errors) = ('', '');
	my $done = IPC::Run::run([ 'scripts/double-shards', "$directory/$file", $step, @arguments ], '>', \$said, '2>', \$errors);

	note($said, $errors);
	return $done ? $said : undef;
}

$shards[$_]->safe_psql('postgres', "CREATE EXTENSION credit_ledger; SELECT credit_shard_configure($_, 2)") for 0 .. 1;
$_->safe_psql('postgres', 'CREATE EXTENSION credit_ledger_router CASCADE; ' . configuration(map { connection($_) } @shards))
  for $router, $other_router;

# The two routers as one, in transaction mode.
my $bouncer = start_bouncer('routers', "credits = host=" . $router->host . "," . $other_router->host . " port=" . $router->port
	  . " dbname=postgres pool_size=8");

# ----------------------------------------------------------------------
# Doubling, under load
# ----------------------------------------------------------------------

my ($out, $errors) = ('', '');
my $clients = IPC::Run::start([ 'python3', '-B', "$FindBin::RealBin/doubling_clients.py", '--clients', 4, '--stop', "$directory/stop",
		'--progress', "$directory/calls", $bouncer->{connection} . ' dbname=credits' ], '>', \$out, '2>', \$errors);
answered(200);
for my $number (0 .. 1)
{
	my $standby = $standbys[$number];

	ok(defined double_shards('standby', $number, $standby->data_dir), "a copy of shard $number");
	like(double_shards('standby', $number, $standby->data_dir), qr/is there/, 'again');
	$standby->append_conf('postgresql.conf', 'port = ' . $standby->port . "\nunix_socket_directories = '" . $standby->host . "'");
	$standby->start;
}
append_to_file("$directory/one", slurp_file("$directory/servers") . "shards=(\"\${shards[0]}\")\nstandbys=(\"\${standbys[0]}\")\n");
append_to_file("$directory/swapped", slurp_file("$directory/servers") . "standbys=(\"\${standbys[1]}\" \"\${standbys[0]}\")\n");
ok(!defined double_shards('standby', 1, $standbys[0]->data_dir), 'the copy of another shard is none of this one');
ok(!defined double_shards_by('one', 'split'), 'a file that does not know all shards');
ok(!defined double_shards_by('swapped', 'split'), 'or which standby is whose');
is($_->safe_psql('postgres', 'SELECT of FROM credit_shard'), '2', 'and nothing is given up') for @shards;
ok(defined double_shards('announce'), 'the routers are told');
is($router->safe_psql('postgres', 'SELECT count(*) FROM credit_worker_status()'), '2', 'there are two databases still');
ok(!defined double_shards('remove'), 'nothing is removed before all are there');
kill_every_process($other_router);
answered(100);
ok(!defined double_shards('split', 0), 'a router is killed: nothing is split that it could not be told of');
answered(100);
$other_router->start;
like(double_shards('split', 0), qr/shard 0 is split/, 'it is back, and told');
answered(100);
kill_server($shards[1]);
$shards[1]->safe_psql('postgres', 'SELECT credit_shard_configure(1, 4)');    # and the script, after its first step
like(double_shards('split'), qr/shard 0 is split\n.*shard 1 is split/s, 'a shard was killed; all are split');
answered(100);
ok(defined double_shards('remove'), 'what is not theirs is removed');
ok(defined double_shards('remove'), 'again');
answered(100);
append_to_file("$directory/stop", '');
ok($clients->finish, 'every client got an answer to its last call') or diag($errors);
ok(defined double_shards('check'), 'all four are sound, and have their own alone');

# ----------------------------------------------------------------------
# What came of it
# ----------------------------------------------------------------------

my ($expected, $pause, $calls) = $out =~ /\A(.*)^-\t(\d+)\t(\d+)\n\z/ms;
my @all = (@shards, @standbys);
cmp_ok($pause, '<', 1000 * $PAUSE, "the longest of $calls answers took $pause ms");
diag("the longest of $calls answers took $pause ms") if $ENV{TEST_VERBOSE};
is_deeply(rows($router, "SELECT concat_ws(E'\\t', org_id, balance, held) FROM credit_account ORDER BY org_id COLLATE \"C\""),
	[ sort split /\n/, $expected ], 'every organisation has what was answered, once');
for my $number (0 .. 3)
{
	my @tables = @{ rows($all[$number], 'SELECT relation FROM credit_ledger_internal.tables_by_organisation()') };
	my $foreign = join ' UNION ALL ', map { "SELECT org_id FROM $_" } @tables;

	is($all[$number]->safe_psql('postgres', "SELECT count(*) FROM ($foreign) r WHERE credit_ledger_internal.organisation_hash(org_id) % 4 <> $number"),
		'0', "shard $number has no row of another's organisation in any table");
	is_sound($all[$number], "shard $number is sound");
	cmp_ok($all[$number]->safe_psql('postgres', 'SELECT count(*) FROM credit_account'), '>', 0, 'and has organisations');
	is($all[$number]->safe_psql('postgres', 'SELECT count(*) FROM pg_replication_slots'), '0', 'no replication slot keeps its log');
}

# ----------------------------------------------------------------------
# A shard is killed
# ----------------------------------------------------------------------

my $of_3 = $standbys[1]->safe_psql('postgres', 'SELECT min(org_id) FROM credit_account');
my $of_0 = $shards[0]->safe_psql('postgres', 'SELECT min(org_id) FROM credit_account');
my $session = $router->background_psql('postgres', on_error_stop => 0);
is($session->query("SELECT org_id FROM credit_balance('$_')"), $_, 'its organisation and another are called') for $of_3, $of_0;
kill_every_process($standbys[1]);
my $began = time;
is($session->query("SELECT org_id FROM credit_charge('$of_3', 1, 'k-1')"), '', 'killed: its organisation gets an error');
cmp_ok(time - $began, '<', 10, 'soon');
is($session->query("SELECT org_id FROM credit_charge('$of_0', 1, 'k-1')"), $of_0, 'the other does not notice');
$standbys[1]->start;
is($router->safe_psql('postgres', "SELECT org_id FROM credit_charge('$of_3', 1, 'k-1')"), $of_3, 'once it is back it goes on');
is($session->query("SELECT replayed FROM credit_charge('$of_3', 1, 'k-1')"), 't', 'for the session that got the error, too');

# ----------------------------------------------------------------------
# A shard is frozen: its kernel answers, it does not
# ----------------------------------------------------------------------

my $between = start_bouncer('shards', join("\n", map { "shard_$_ = " . connection($all[$_]) } 0 .. 3),
	'query_timeout = 2', 'query_wait_timeout = 2', 'server_connect_timeout = 2', 'ignore_startup_parameters = options, extra_float_digits');
$router->safe_psql('postgres', configuration(map { "$between->{connection} dbname=shard_$_" } 0 .. 3));
is($session->query("SELECT org_id FROM credit_balance('$_')"), $_, 'through pgbouncer') for $of_3, $of_0;
signal_every_process($standbys[1], 'STOP');
$began = time;
is($session->query("SELECT org_id FROM credit_charge('$of_3', 1, 'l-1')"), '', 'frozen: its organisation gets an error');
cmp_ok(time - $began, '<', 10, 'within the time that was set');
is($session->query("SELECT org_id FROM credit_charge('$of_0', 1, 'l-1')"), $of_0, 'the other does not notice');
is($session->query("SELECT org_id FROM credit_charge('$of_3', 1, 'l-1')"), '', 'nor does the next call for the first wait forever');
signal_every_process($standbys[1], 'CONT');
ok($router->poll_query_until('postgres', "SELECT org_id FROM credit_charge('$of_3', 1, 'l-1')", $of_3), 'once it moves again it goes on');
is_sound($standbys[1], 'and is sound');
$session->quit;
$_->{run}->kill_kill for $bouncer, $between;

$_->stop for $router, $other_router, @all;
done_testing();

# On one port, each with a directory of its own for its socket, so that they are hosts to pgbouncer.
sub routers
{
	my $port = PostgreSQL::Test::Cluster::get_free_port();

	return map {
		my $node = PostgreSQL::Test::Cluster->new("router_$_", port => $port, own_host => 1);

		$node->init;
		$node->append_conf('postgresql.conf', "max_connections = 60\nshared_buffers = 16MB");
		$node->start;
		$node;
	} 0 .. 1;
}

sub configuration
{
	return "SELECT credit_router_configure(ARRAY['" . join("', '", @_) . "'], '5 seconds')";
}

sub start_bouncer
{
	my ($name, $databases, @settings) = @_;
	my $port = PostgreSQL::Test::Cluster::get_free_port();
	my ($program) = grep { -x $_ } '/usr/sbin/pgbouncer', '/usr/bin/pgbouncer';
	my %bouncer = (connection => "host=$directory port=$port");

	die 'pgbouncer is not installed' unless defined $program;
	append_to_file("$directory/$name.ini", join "\n", '[databases]', $databases, '[pgbouncer]', 'listen_addr =', "listen_port = $port",
		"unix_socket_dir = $directory", 'auth_type = trust', "auth_file = $directory/users", 'pool_mode = transaction',
		'server_login_retry = 1', @settings, '');
	$bouncer{run} = IPC::Run::start([ $program, '-q', "$directory/$name.ini" ], '>', \$bouncer{output}, '2>', \$bouncer{errors});
	for (1 .. 10 * $PostgreSQL::Test::Utils::timeout_default)
	{
		return \%bouncer if system("pg_isready --quiet --host=$directory --port=$port") == 0;
		$bouncer{run}->pump_nb;
		usleep(100_000);
	}
	die "pgbouncer does not start: $bouncer{errors}";
}

# Wait for so many more answers.
sub answered
{
	my ($more) = @_;
	my $count = sub { -e "$directory/calls" ? slurp_file("$directory/calls") : 0 };
	my $before = $count->();

	for (1 .. 10 * $PostgreSQL::Test::Utils::timeout_default)
	{
		die "the clients have ended: $errors" unless $clients->pumpable;
		return if $count->() >= $before + $more;
		usleep(100_000);
		$clients->pump_nb;
	}
	die "the clients get no answers: $errors";
}
