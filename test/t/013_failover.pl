# Goal: a primary is killed under load, its synchronous standby takes over, and applications go on: no call that was answered
# is lost, whoever repeats one gets the same answer, what was held is settled once, by its caller or by the worker. All
# this with and without early lock release, through pgbouncer in transaction mode, with prepared statements.
#
# Method: clients authorize and commit through pgbouncer, and repeat what was not answered until it is (failover_clients.py);
# they write down every answer. The standby is stopped for a moment, all processes of the primary are killed while commits wait
# for it, then it is promoted, and pgbouncer is told. What was written down is held against the ledger.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;
use IPC::Run;
use LedgerServer;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $CLIENTS = 6;
my $ANSWERS = 40;    # of each client, before the primary is killed and after the standby has taken over
my $directory = PostgreSQL::Test::Utils::tempdir_short;  # of sockets, too

foreach my $early ('off', 'on')
{
	subtest "early lock release $early" => sub { drill($early) };
}
done_testing();

sub drill
{
	my ($early) = @_;
	my $primary = new_server("primary_$early", qq{
		shared_preload_libraries = 'credit_ledger'
		credit_ledger.sweep_interval = '500ms'
		credit_ledger.early_lock_release = $early
		fsync = on
	}, allows_streaming => 1);
	my $standby = PostgreSQL::Test::Cluster->new("standby_$early");

	$primary->safe_psql('postgres', q{
		CREATE EXTENSION credit_ledger;
		SELECT credit_grant('hot', 1000000, 'g'), credit_grant('cold', 1000000, 'g');
		CREATE TABLE answer (client integer, operation text, key text, id text, replayed boolean, told text)});
	$primary->backup('base');
	$standby->init_from_backup($primary, 'base', has_streaming => 1);
	$standby->start;
	set_synchronous_standby($primary, $standby->name);

	my $bouncer = start_bouncer($primary, $early);
	my $clients = start_clients($bouncer, $early);
	answered($clients, 0);
	kill_among_commits($primary, $standby);
	$standby->promote;
	route($bouncer, $standby);
	answered($clients, count_lines($clients->{out}));
	are_prepared($bouncer);
	stop_clients($clients);
	$bouncer->{run}->kill_kill;

	$standby->safe_psql('postgres', qq{COPY answer FROM '$clients->{out}'});
	judge($standby);
	$standby->stop;
	$primary->teardown_node;
}

# Kills the primary while it has committed what the standby does not have: nobody may have been answered that.
sub kill_among_commits
{
	my ($primary, $standby) = @_;
	my $receiver = $standby->safe_psql('postgres', 'SELECT pid FROM pg_stat_wal_receiver');

	kill 'STOP', $receiver;
	my $waiting = $primary->poll_query_until('postgres', q{SELECT count(*) > 1 FROM pg_stat_activity WHERE wait_event = 'SyncRep'});
	kill_every_process($primary);
	kill 'CONT', $receiver;
	ok($waiting, 'commits wait for the standby');
}

sub judge
{
	my ($node) = @_;
	my $count = sub { $node->safe_psql('postgres', "SELECT count(*) FROM $_[0]") };

	# What nobody committed is settled by the worker.
	ok($node->poll_query_until('postgres', 'SELECT count(*) = 0 FROM credit_ledger_open'), 'nothing stays open');
	cmp_ok($count->('answer'), '>', 2 * $CLIENTS * $ANSWERS, 'there were answers');
	cmp_ok($count->('answer WHERE replayed'), '>', 0, 'some of them to a call that had been made');
	is($count->(q{answer a LEFT JOIN credit_ledger l ON l.authorization_id = a.id AND l.idempotency_key = a.key
			WHERE l.authorization_id IS NULL}), '0', 'no answered authorization is lost');
	is($count->(q{answer a JOIN credit_ledger l ON l.authorization_id = a.id
			WHERE a.operation = 'commit' AND (l.status <> 'committed' OR l.settled_by <> 'caller' OR l.amount <> 7)}), '0',
		'no answered commit');
	is($count->(q{(SELECT key FROM answer GROUP BY key HAVING count(DISTINCT id) > 1) k}), '0', 'a key has one authorization, whenever it was asked for');
	is($count->(q{(SELECT authorization_id FROM credit_entry WHERE kind <> 'grant' GROUP BY 1 HAVING count(*) > 1) e}), '0', 'nothing is charged twice');
	is($count->(q{(SELECT org_id, count(*) FROM credit_ledger GROUP BY org_id HAVING count(*) <> count(DISTINCT idempotency_key)) l}), '0', 'nor held twice');
	cmp_ok($count->(q{credit_ledger WHERE settled_by = 'timeout'}), '>', 0, 'what nobody committed is settled by timeout');
	is($node->safe_psql('postgres', q{
			SELECT sum(a.balance) + (SELECT sum(l.amount) FROM credit_ledger l WHERE l.status = 'committed') FROM credit_account a}),
		'2000000', 'the balance is what was granted less what was charged');
	is_sound($node, 'the ledger is sound');
	indexes_are_sound($node, 'so are its indexes');
}

# Clients prepare their statements in the protocol, which pgbouncer passes on from 1.21; an older one prepares them itself, in
# SQL, whenever it makes a connection to the server.
sub start_bouncer
{
	my ($node, $name) = @_;
	my $bouncer = { ini => "$directory/$name.ini", port => PostgreSQL::Test::Cluster::get_free_port(), errors => '' };
	my ($program) = grep { -x $_ } '/usr/sbin/pgbouncer', '/usr/bin/pgbouncer';

	die 'pgbouncer is not installed' unless defined $program;
	my ($major, $minor) = `$program --version` =~ /^PgBouncer (\d+)\.(\d+)/ or die 'which pgbouncer is it?';
	$bouncer->{prepared} = $major > 1 || $minor >= 21 ? 'by-client' : 'by-pool';
	route($bouncer, $node);
	$bouncer->{run} = IPC::Run::start([ $program, '-q', $bouncer->{ini} ], '>', \$bouncer->{output}, '2>', \$bouncer->{errors});
	return $bouncer;
}

sub route
{
	my ($bouncer, $node) = @_;
	my ($host, $port, $user) = ($node->host, $node->port, getpwuid $>);
	my $by_client = $bouncer->{prepared} eq 'by-client';
	my $prepare = 'PREPARE hold (text, bigint, text, interval) AS SELECT authorization_id, replayed FROM credit_authorize($1, $2, idempotency_key => $3, timeout => $4); '
	  . 'PREPARE settle (text, bigint) AS SELECT authorization_id, replayed FROM credit_commit($1, $2)';
	my $connect_query = $by_client ? '' : "connect_query='$prepare'";
	my $max_prepared = $by_client ? 'max_prepared_statements = 10' : '';

	open my $file, '>', $bouncer->{ini} or die $!;
	print $file <<"INI";
[databases]
ledger = host=$host port=$port dbname=postgres user=$user pool_size=4 $connect_query
[pgbouncer]
listen_addr =
listen_port = $bouncer->{port}
unix_socket_dir = $directory
auth_type = any
pool_mode = transaction
$max_prepared
server_login_retry = 1
ignore_startup_parameters = extra_float_digits
INI
	close $file;
	$bouncer->{run}->signal('HUP') if $bouncer->{run};
}

sub start_clients
{
	my ($bouncer, $name) = @_;
	my $clients = { out => "$directory/$name.answers", stop => "$directory/$name.stop", errors => '' };

	$clients->{run} = IPC::Run::start([ 'python3', '-B', "$FindBin::RealBin/failover_clients.py", '--clients', $CLIENTS,
			'--stop', $clients->{stop}, '--prepared', $bouncer->{prepared}, "host=$directory port=$bouncer->{port} dbname=ledger user=app" ],
		'>', $clients->{out}, '2>', \$clients->{errors});
	return $clients;
}

# Wait for so many more answers to each client, on average.
sub answered
{
	my ($clients, $before) = @_;

	for (1 .. 10 * $PostgreSQL::Test::Utils::timeout_default)
	{
		die "the clients have ended: $clients->{errors}" unless $clients->{run}->pumpable;
		return if count_lines($clients->{out}) >= $before + $CLIENTS * $ANSWERS;
		usleep(100_000);
		$clients->{run}->pump_nb;
	}
	die "the clients get no answers: $clients->{errors}";
}

# Whichever connection of the pool is asked.
sub are_prepared
{
	my ($bouncer) = @_;
	my ($in_sql) = $bouncer->{prepared} eq 'by-client' ? 'NOT from_sql' : 'from_sql';
	my ($out, $err);

	IPC::Run::run([ 'psql', '-XAt', '-d', "host=$directory port=$bouncer->{port} dbname=ledger user=app", '-c',
			"SELECT bool_or(statement ~ 'credit_authorize') AND bool_or(statement ~ 'credit_commit')
			 FROM pg_prepared_statements WHERE $in_sql" ], '>', \$out, '2>', \$err);
	is($out, "t\n", "statements are prepared $bouncer->{prepared}") or diag($err);
}

sub stop_clients
{
	my ($clients) = @_;

	append_to_file($clients->{stop}, '');
	ok($clients->{run}->finish, 'every client got an answer to its last call') or diag($clients->{errors});
}

sub count_lines
{
	my ($file) = @_;

	return -e $file ? slurp_file($file) =~ tr/\n// : 0;
}
