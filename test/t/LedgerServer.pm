# What the server-level tests share: a server of their own, and the questions each of them asks.
#
# Each test starts servers by PostgreSQL's own PostgreSQL::Test::Cluster, in its own directory and with a socket in
# /tmp or $TMPDIR. The extension must be installed in the server that PG_CONFIG (else the pg_config in PATH) names,
# and the caller must not be root. So from the checkout:
#
#   scripts/with-server --no-server prove test/t/*.pl                all of them
#   scripts/with-server --no-server prove -v test/t/002_crash.pl     one
#
# PG_REGRESS, the server's programs and its Perl modules are found from pg_config, so nothing else need be set; what
# PGXS's prove_installcheck sets (PG_REGRESS, PERL5LIB, TESTDIR, and TESTDATADIR and TESTLOGDIR from PostgreSQL 16 on)
# is respected. Logs stay in tmp_check/log of the current directory.

package LedgerServer;

use strict;
use warnings FATAL => 'all';

use Cwd qw(abs_path);
use Exporter qw(import);
use FindBin;
use File::Basename qw(basename dirname);

BEGIN
{
	my $pg_config = $ENV{PG_CONFIG} // 'pg_config';
	chomp(my $bindir = qx{$pg_config --bindir});
	chomp(my $pgxs = qx{$pg_config --pgxs});
	my $test = dirname($pgxs) . '/../../src/test';

	$ENV{PATH} = "$bindir:$ENV{PATH}";
	$ENV{PG_REGRESS} //= "$test/regress/pg_regress";
	push @INC, "$test/perl";
}

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

our @EXPORT = qw(fails_with heard indexes_are_sound is_sound kill_every_process kill_server new_server rows set_clock
  set_synchronous_standby set_worker signal_every_process start_under_clock);

# As PostgreSQL::Test::Cluster does from 17 on: data directories are copied from INITDB_TEMPLATE, if there is one.
{
	no warnings 'redefine';
	my $system_or_bail = \&PostgreSQL::Test::Utils::system_or_bail;

	*PostgreSQL::Test::Utils::system_or_bail = sub {
		my ($program, undef, $data_dir) = @_;

		return $system_or_bail->(@_) unless $program eq 'initdb' && defined $ENV{INITDB_TEMPLATE};
		return $system_or_bail->('cp', '-RPp', $ENV{INITDB_TEMPLATE}, $data_dir);
	};
}

# A running server with these settings. %init goes to PostgreSQL::Test::Cluster's init.
sub new_server
{
	my ($name, $settings, %init) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);

	$node->init(%init);
	$node->append_conf('postgresql.conf', $settings);
	$node->start;
	return $node;
}

# Kills every process of the server, and starts it again when they have gone.
sub kill_server
{
	my ($node) = @_;

	kill_every_process($node);
	return $node->start;
}

# They all work in the data directory; one that was born last may wait forever for a lock of one that was killed first.
sub kill_every_process
{
	my ($node) = @_;
	my $directory = abs_path($node->data_dir);
	my ($postmaster) = split /\n/, slurp_file("$directory/postmaster.pid");

	$node->kill9;
	for (1 .. 100 * $PostgreSQL::Test::Utils::timeout_default)
	{
		return unless signal_every_process($node, 'KILL') || kill(0, $postmaster);
		usleep(10_000);
	}
	die 'the server cannot be killed';
}

# Returns how many processes got the signal.
sub signal_every_process
{
	my ($node, $signal) = @_;
	my $directory = abs_path($node->data_dir);

	return kill $signal, grep { (readlink("/proc/$_/cwd") // '') eq $directory } map { basename($_) } glob('/proc/[0-9]*');
}

# Starts a server whose clock on the wall follows a file, see set_clock; the clock that nobody sets is left alone.
sub start_under_clock
{
	my ($node, $clock) = @_;
	my $library = PostgreSQL::Test::Utils::tempdir . '/clock.so';
	my $source = "$FindBin::RealBin/clock.c";

	system('cc', '-shared', '-fPIC', '-o', $library, $source) == 0 or die "cannot compile $source";
	local $ENV{LD_PRELOAD} = $library;
	local $ENV{CLOCK_ON_THE_WALL} = abs_path($clock);  # the server works in another directory
	$node->start;
}

# How far that clock is off: +5h, -20d, 0. Written in place, where the server looks.
sub set_clock
{
	my ($clock, $offset) = @_;
	my ($number, $unit) = $offset =~ /^([-+]?\d+)([hd]?)$/ or die $offset;

	open my $file, -e $clock ? '+<' : '>', $clock or die $!;
	syswrite $file, pack('q', $number * { h => 3600, d => 86400, '' => 1 }->{$unit});
	close $file;
}

# Passes if the statement is refused with that SQLSTATE.
sub fails_with
{
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($node, $sqlstate, $sql, $name, %params) = @_;
	my ($status, undef, $stderr) = $node->psql($params{database} // 'postgres',
		$sql, extra_params => [ '-v', 'VERBOSITY=sqlstate' ]);

	return is($status, 3, "$name: refused")
	  && like($stderr, qr/ERROR:  \Q$sqlstate\E$/m, "$name: $sqlstate");
}

# Passes if credit_verify() finds no invariant broken.
sub is_sound
{
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($node, $name, %params) = @_;
	my $schema = $params{schema} // 'public';

	return is(
		$node->safe_psql($params{database} // 'postgres',
			"SELECT * FROM $schema.credit_verify()"),
		'', $name);
}

# Passes if every index of the ledger's tables is in order and has an entry for every row.
sub indexes_are_sound
{
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($node, $name, %params) = @_;
	my $database = $params{database} // 'postgres';
	my $schema = $params{schema} // 'public';
	my ($status, undef, $stderr) = $node->psql(
		$database, qq{
		SET client_min_messages = warning;
		CREATE EXTENSION IF NOT EXISTS amcheck;
		SELECT bt_index_check(i.indexrelid, heapallindexed => true)
		FROM pg_index i
		JOIN pg_class c ON c.oid = i.indexrelid AND c.relkind = 'i'
		JOIN pg_am m ON m.oid = c.relam AND m.amname = 'btree'
		WHERE c.relnamespace = '$schema'::regnamespace});

	return is("$status $stderr", '0 ', $name);
}

# The checkpointer tells the others whether there is anybody to wait for; a checkpoint comes after that.
sub set_synchronous_standby
{
	my ($node, $standby) = @_;

	$node->append_conf('postgresql.conf', "synchronous_standby_names = '$standby'");
	$node->reload;
	$node->poll_query_until('postgres', 'SHOW synchronous_standby_names', $standby) or die 'the reload does not arrive';
	$node->safe_psql('postgres', 'CHECKPOINT');
}

# Switches the worker on, or off: then no sweeper is at work any more, and none is on its way.
sub set_worker
{
	my ($node, $state) = @_;
	my $launcher = $state eq 'off' ? 'paused by credit_ledger.worker' : 'having expired holds settled%';

	$node->append_conf('postgresql.conf', "credit_ledger.worker = $state");
	$node->reload;
	$node->poll_query_until('postgres', qq{
		SELECT bool_and(query LIKE '$launcher') FROM pg_stat_activity WHERE backend_type = 'credit_ledger launcher'})
	  or die 'the reload does not arrive';
	return if $state eq 'on';
	$node->poll_query_until('postgres', q{SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'credit_ledger sweeper'})
	  or die 'a sweeper stays';
}

# The payloads that a session which listens to the channel has got, once there are so many at least. Who commits signals
# the listeners only after others see what was committed.
sub heard
{
	my ($session, $channel, $count) = @_;
	my @payloads;

	for (1 .. 100 * $PostgreSQL::Test::Utils::timeout_default)
	{
		push @payloads, $session->query('SELECT 1') =~ /"\Q$channel\E" with payload "(.*)" received/g;
		last if @payloads >= $count;
		usleep(10_000);
	}
	return @payloads;
}

# The rows of a query, each as one line of text.
sub rows
{
	my ($node, $sql, %params) = @_;

	return [ split /\n/, $node->safe_psql($params{database} // 'postgres', $sql) ];
}

1;
