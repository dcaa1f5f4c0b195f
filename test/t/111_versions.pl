# Goal: the library and the SQL of a database are of one version, or nothing is written: a call says which of ALTER EXTENSION
# UPDATE and a restart is missing, the worker leaves the database alone and health says so.
#
# Method: the version that the catalog has for the extension is set lower and higher than the library's.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;
use LedgerServer;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('versions', q{
	shared_preload_libraries = 'credit_ledger'
	credit_ledger.sweep_interval = '100ms'
});
$node->safe_psql('postgres', q{CREATE EXTENSION credit_ledger; SELECT credit_grant('acme', 10, 'g')});
my $version = $node->safe_psql('postgres', q{SELECT extversion FROM pg_extension WHERE extname = 'credit_ledger'});

foreach my $other ([ '0.9', 'ALTER EXTENSION' ], [ '0', 'ALTER EXTENSION' ], [ '99.10', 'Restart' ], [ "$version.1", 'Restart' ])
{
	my ($other_version, $hint) = @$other;

	subtest "SQL of version $other_version" => sub {
		$node->safe_psql('postgres', q{SELECT credit_authorize('acme', 1, 'c-' || clock_timestamp(), timeout => '1 day')});
		set_version($other_version);
		ok($node->poll_query_until('postgres', qq{
				SELECT left_alone_because = 'the library credit_ledger is of version $version, its SQL in this database of version $other_version'
				FROM credit_worker_status()}), 'the worker leaves it alone');
		$node->safe_psql('postgres', 'UPDATE credit_ledger_open SET expires_at = now()');
		fails_with($node, '55000', q{SELECT credit_grant('acme', 1, 'other')}, 'a call');
		my (undef, undef, $stderr) = $node->psql('postgres', q{SELECT credit_grant('acme', 1, 'other')});
		like($stderr, qr/HINT:  .*$hint/, 'and says what is missing');
		is($node->safe_psql('postgres', 'SELECT count(*) FROM credit_ledger_open'), '1', 'nothing is settled');
		set_version($version);
		ok($node->poll_query_until('postgres', 'SELECT count(*) = 0 FROM credit_ledger_open'), 'then it goes on');
	};
}

is_sound($node, 'the ledger is sound');
$node->stop;
done_testing();

sub set_version
{
	$node->safe_psql('postgres', "UPDATE pg_extension SET extversion = '$_[0]' WHERE extname = 'credit_ledger'");
}
