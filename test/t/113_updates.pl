# Goal: a database that was updated from whatever released version is the same as one in which the extension was made anew:
# functions, types, columns, constraints, indexes, triggers, views, comments, privileges, tables that are dumped; and what
# the ledger held it still holds.
#
# Method: every install script of test/releases is installed and updated; and, so that this is proved before there is a
# release, one of a version that never was, made of the present one, with an update script of what such scripts are made of.
# All of the catalog that belongs to the extension is written down as text and compared. That the comparison sees a
# difference is shown for each kind, by planting one. The router's extension likewise, where there is PL/Proxy.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;
use File::Basename qw(basename);
use File::Copy qw(copy);
use LedgerServer;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

# What belongs to the extension, a line a fact.
my $CATALOG = q{
	WITH member AS (
		SELECT d.classid, d.objid
		FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = :'extension'
		WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
	), relation AS (
		-- Of a composite type it is the type that belongs to the extension.
		SELECT c.* FROM pg_class c
		JOIN member m ON (m.classid, m.objid) IN (('pg_class'::regclass, c.oid), ('pg_type'::regclass, c.reltype))
	), function AS (
		SELECT p.* FROM pg_proc p JOIN member m ON m.classid = 'pg_proc'::regclass AND m.objid = p.oid
	), type AS (
		SELECT t.* FROM pg_type t JOIN member m ON m.classid = 'pg_type'::regclass AND m.objid = t.oid
	), acl AS (
		SELECT format('%s %s', 'function', oid::regprocedure) AS object, coalesce(proacl, acldefault('f', proowner)) AS acl FROM function
		UNION ALL SELECT format('%s %s', 'relation', oid::regclass), coalesce(relacl, acldefault('r', relowner)) FROM relation WHERE relkind <> 'c'
		UNION ALL SELECT format('%s %s', 'type', oid::regtype), coalesce(typacl, acldefault('T', typowner)) FROM type
		UNION ALL SELECT format('%s %s', 'schema', n.oid::regnamespace), nspacl FROM pg_namespace n
			JOIN member m ON m.classid = 'pg_namespace'::regclass AND m.objid = n.oid
	), fact (kind, fact) AS (
		SELECT 'member', pg_describe_object(m.classid, m.objid, 0) FROM member m
		UNION ALL SELECT 'extension', format('%s %s %s', extversion, extrelocatable, extnamespace::regnamespace)
			FROM pg_extension WHERE extname = :'extension'
		UNION ALL SELECT 'function', pg_get_functiondef(f.oid) FROM function f WHERE f.prokind <> 'a'
		UNION ALL SELECT 'aggregate', format('%s %s', f.oid::regprocedure, to_jsonb(a) - 'aggfnoid')
			FROM function f JOIN pg_aggregate a ON a.aggfnoid = f.oid
		UNION ALL SELECT 'enum', format('%s %s', t.oid::regtype, string_agg(e.enumlabel, ' ' ORDER BY e.enumsortorder))
			FROM type t JOIN pg_enum e ON e.enumtypid = t.oid GROUP BY t.oid
		UNION ALL SELECT 'relation', format('%s %s %s %s %s %s %s %s', r.oid::regclass, r.relkind, r.relpersistence, r.relreplident,
				r.relrowsecurity, (SELECT string_agg(o, ' ' ORDER BY o) FROM unnest(r.reloptions) o), pg_get_expr(r.relpartbound, r.oid), pg_get_partkeydef(r.oid)) FROM relation r
		UNION ALL SELECT CASE r.relkind WHEN 'c' THEN 'attribute' ELSE 'column' END, format('%s %s %s %s %s %s %s %s %s %s', r.oid::regclass,
				row_number() OVER (PARTITION BY r.oid ORDER BY a.attnum), a.attname, format_type(a.atttypid, a.atttypmod), a.attcollation::regcollation,
				a.attnotnull, pg_get_expr(d.adbin, d.adrelid), a.attidentity, a.attgenerated, a.attstorage)
			FROM relation r JOIN pg_attribute a ON a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped
			LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
		UNION ALL SELECT 'constraint', format('%s %s %s %s', k.conrelid::regclass, k.conname, pg_get_constraintdef(k.oid), k.convalidated)
			FROM pg_constraint k JOIN relation r ON r.oid = k.conrelid
		UNION ALL SELECT 'index', pg_get_indexdef(i.indexrelid) FROM pg_index i JOIN relation r ON r.oid = i.indrelid
		UNION ALL SELECT 'trigger', format('%s %s', pg_get_triggerdef(g.oid), g.tgenabled)
			FROM pg_trigger g JOIN relation r ON r.oid = g.tgrelid
		UNION ALL SELECT 'view', format('%s %s', r.oid::regclass, pg_get_viewdef(r.oid)) FROM relation r WHERE r.relkind = 'v'
		UNION ALL SELECT 'sequence', format('%s %s', s.seqrelid::regclass, to_jsonb(s) - 'seqrelid')
			FROM pg_sequence s JOIN relation r ON r.oid = s.seqrelid
		UNION ALL SELECT 'comment', format('%s: %s', pg_describe_object(c.classoid, c.objoid, c.objsubid), c.description)
			FROM pg_description c
			WHERE (c.classoid, c.objoid) IN (SELECT classid, objid FROM member UNION SELECT 'pg_class'::regclass, oid FROM relation)
		UNION ALL SELECT 'privilege', format('%s %s %s %s', a.object, x.grantee::regrole, x.privilege_type, x.is_grantable)
			FROM acl a, aclexplode(a.acl) x
		UNION ALL SELECT 'column privilege', format('%s %s %s', r.oid::regclass, a.attname, a.attacl)
			FROM relation r JOIN pg_attribute a ON a.attrelid = r.oid WHERE a.attacl IS NOT NULL
		UNION ALL SELECT 'policy', format('%s %s', p.polrelid::regclass, p.polname) FROM pg_policy p JOIN relation r ON r.oid = p.polrelid
		UNION ALL SELECT 'dumped', format('%s %s', u.config::regclass, u.condition)
			FROM pg_extension, unnest(extconfig, extcondition) u (config, condition) WHERE extname = :'extension'
	)
	SELECT kind, regexp_replace(fact, '\s+', ' ', 'g') FROM fact ORDER BY 1, 2};

# Of every script that updates the ledger.
my $BEGINNING = q{\echo Use "ALTER EXTENSION credit_ledger UPDATE" to load this file. \quit
SET LOCAL search_path = pg_catalog, pg_temp;
SELECT credit_ledger_internal.begin_update();
};

my $node = new_server('updates', '');
my $directory = installed_directory();
my $releases = "$FindBin::RealBin/../releases";
my @made;

END { unlink @made }

my $fresh = fresh('credit_ledger');
cmp_ok(scalar @$fresh, '>', 1000, 'the catalog is told');
all_updated('credit_ledger', $fresh, made_up_version(present('credit_ledger')), sub {
	my ($database) = @_;

	is($node->safe_psql($database, q{SELECT available FROM credit_grant('acme', 1, 'g')}), '6', 'calls find what there was');
	is_sound($node, 'the ledger is sound', database => $database);
});

SKIP:
{
	skip 'PL/Proxy is not installed: Debian has it as postgresql-NN-plproxy' unless -e "$directory/plproxy.control";

	all_updated('credit_ledger_router', fresh('credit_ledger_router'), made_up_router(present('credit_ledger_router')), sub {
		my ($database) = @_;

		is($node->safe_psql($database, q{SELECT count(*) FROM credit_account}), '0', 'it works');
	});
}

subtest 'sessions that remember another version' => sub {
	my ($version) = present('credit_ledger');
	my $database = 'fresh_credit_ledger';
	my $update = q{ALTER EXTENSION credit_ledger UPDATE TO '99.0'};
	my $grant = q{SELECT credit_grant('acme', 1, 'g-' || clock_timestamp())};
	my $session = $node->background_psql($database);
	my $refused = sub {
		is($session->query_safe(qq{SELECT pg_temp.sqlstate_of(\$\$$grant\$\$)}), '55000', $_[0]);
	};

	$session->query_safe(q{
		CREATE FUNCTION pg_temp.sqlstate_of(statement text) RETURNS text LANGUAGE plpgsql AS $$
		BEGIN
		  EXECUTE statement;
		  RETURN '00000';
		EXCEPTION WHEN OTHERS THEN
		  RETURN SQLSTATE;
		END
		$$});
	like(slurp_file($_), qr/^\Q$BEGINNING\E/, basename($_)) foreach glob "$directory/credit_ledger--*--*.sql";
	make_file("credit_ledger--$version--99.0.sql", $BEGINNING);
	make_file("credit_ledger--99.0--$version.sql", $BEGINNING);
	$session->query_safe("BEGIN; $grant");
	fails_with($node, '55P03', "SET lock_timeout = '10ms'; $update", 'an update beside an open call', database => $database);
	$session->query_safe('COMMIT');
	$node->safe_psql($database, $update);
	$refused->('a call of a session that made one before');
	$session->query_safe("BEGIN; ALTER EXTENSION credit_ledger UPDATE TO '$version'; $grant");
	$session->query_safe('ROLLBACK');
	$refused->('a call after an update that was rolled back');
	$session->query_safe("BEGIN; SAVEPOINT before; ALTER EXTENSION credit_ledger UPDATE TO '$version'; $grant; ROLLBACK TO before");
	$refused->('the same, to a savepoint');
	$session->query_safe('ROLLBACK');
	$session->query_safe("ALTER EXTENSION credit_ledger UPDATE TO '$version'; $grant");

	# A call that has its authorization's table, but not yet the account's, when the script comes for both.
	append_to_file("$directory/credit_ledger--$version--99.0.sql", 'ALTER TABLE @extschema@.credit_ledger_open ALTER org_id SET NOT NULL;');
	$session->query_safe('BEGIN; LOCK TABLE credit_ledger_open IN ROW EXCLUSIVE MODE');
	my $other = $node->background_psql($database);
	$other->query_until(qr/begun/, "\\echo begun\n$update;\n");
	ok($node->poll_query_until($database, q{SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'}), 'an update waits');
	is($session->query_safe(qq{SELECT pg_temp.sqlstate_of(\$\$$grant\$\$)}), '00000', 'and takes no part in a deadlock');
	$session->query_safe('COMMIT');
	$other->quit;
	$refused->('it comes to its end');
	$session->quit;
};

subtest 'a difference is seen' => sub {
	my %planted = (
		aggregate => q{UPDATE pg_aggregate SET agginitval = '1' WHERE aggfnoid = 'credit_ledger_internal.checksum'::regproc},
		comment => 'COMMENT ON COLUMN credit_account.held IS $$planted$$',
		attribute => 'ALTER TYPE credit_movement ADD ATTRIBUTE planted integer',
		column => 'ALTER TABLE credit_stat ADD planted integer',
		'column privilege' => 'GRANT SELECT (balance) ON credit_account TO PUBLIC',
		constraint => 'ALTER TABLE credit_stat ADD CONSTRAINT planted CHECK (count > 0) NOT VALID',
		dumped => q{UPDATE pg_extension SET extcondition[1] = 'WHERE false' WHERE extname = 'credit_ledger'},
		enum => q{ALTER TYPE credit_status RENAME VALUE 'reverted' TO 'planted'},
		extension => q{UPDATE pg_extension SET extversion = '0' WHERE extname = 'credit_ledger'},
		function => 'ALTER FUNCTION credit_verify VOLATILE',
		index => 'CREATE INDEX planted ON credit_stat (count)',
		member => 'ALTER EXTENSION credit_ledger DROP VIEW credit_totals',
		policy => 'CREATE POLICY planted ON credit_stat',
		privilege => 'GRANT EXECUTE ON FUNCTION credit_grant TO PUBLIC',
		relation => 'ALTER TABLE credit_stat SET (fillfactor = 50)',
		sequence => 'ALTER SEQUENCE credit_finding_finding_id_seq CYCLE',
		trigger => 'ALTER TABLE credit_entry DISABLE TRIGGER credit_entry_append_only',
		view => 'CREATE OR REPLACE VIEW credit_ledger_internal.partition_away WITH (security_invoker) AS SELECT d.name, d.parent, d.lower_bound, d.upper_bound FROM credit_detached_partition d');

	foreach my $kind (sort keys %planted)
	{
		my $changed = catalog('credit_ledger', 'fresh_credit_ledger', $planted{$kind});

		ok((grep { /^\Q$kind\E\|/ } differences($fresh, $changed)), $kind);
	}
	is_deeply([ sort keys %planted ], [ sort(kinds()) ], 'of every kind');
};

$node->stop;
done_testing();

# Of the version that is made now.
sub present
{
	my ($extension) = @_;
	my ($version) = slurp_file("$directory/$extension.control") =~ /^default_version = '(.*)'/m;

	return ($version, slurp_file("$directory/$extension--$version.sql"));
}

# The facts of an extension that was made anew.
sub fresh
{
	my ($extension) = @_;

	$node->safe_psql('postgres', "CREATE DATABASE fresh_$extension");
	$node->safe_psql("fresh_$extension", "CREATE EXTENSION $extension CASCADE");
	return catalog($extension, "fresh_$extension");
}

# From a version that never was, and from every released one.
sub all_updated
{
	my ($extension, $fresh, $older, $update, $check) = @_;
	my ($version) = present($extension);

	make_file("$extension--0.0.1.sql", $older);
	make_file("$extension--0.0.1--$version.sql", $update);
	updated($extension, '0.0.1', $fresh, $check);
	foreach my $release (glob "$releases/$extension--*.sql")
	{
		my ($released) = basename($release) =~ /^$extension--(.*)\.sql$/;

		next if $released eq $version;
		make_file(basename($release), slurp_file($release));
		updated($extension, $released, $fresh, $check);
	}
}

# From that version; the ledger with an account in it.
sub updated
{
	my ($extension, $from, $fresh, $check) = @_;
	my $database = "${extension}_updated_$from";

	subtest "$extension from $from" => sub {
		$node->safe_psql('postgres', qq{CREATE DATABASE "$database"});
		$node->safe_psql($database, qq{CREATE EXTENSION $extension VERSION '$from' CASCADE});
		if ($extension eq 'credit_ledger')
		{
			$node->safe_psql($database,
				q{INSERT INTO credit_account (org_id, credit_limit, created_at, updated_at) VALUES ('acme', 5, now(), now())});
			fails_with($node, '55000', q{SELECT credit_grant('acme', 1, 'g')}, 'a call before the update', database => $database);
		}
		isnt(scalar(differences($fresh, catalog($extension, $database))), 0, 'it is another version');
		$node->safe_psql($database, "ALTER EXTENSION $extension UPDATE");
		is(join("\n", differences($fresh, catalog($extension, $database))), '', 'updated, it is as one that was made anew');
		$check->($database);
	};
}

# The present version without some things, and what adds them.
sub made_up_version
{
	my (undef, $present) = @_;
	my $older = $present;
	my $update = $BEGINNING;
	my $privileges = substr($present, rindex($present, 'SELECT credit_ledger_internal.revoke_from_others('));

	# A function and its comment; another one with another body and another comment.
	my ($created, $comment) = statements($present, qr/CREATE FUNCTION \@extschema\@\.credit_orphaned_authorizations\(/,
		qr/COMMENT ON FUNCTION \@extschema\@\.credit_orphaned_authorizations\(/);
	$older = without($older, $created, $comment);
	$update .= "$created$comment";
	my ($changed) = statements($present, qr/CREATE FUNCTION \@extschema\@\.credit_reconciliation_health\(/);
	$older = replaced($older, $changed, $changed =~ s/'in time'/'as it should'/r);
	$update .= $changed =~ s/CREATE FUNCTION/CREATE OR REPLACE FUNCTION/r;

	# A label, a column, a constraint, an index, an option, a trigger, a table to be dumped, a comment.
	$older = replaced($older, "'reconciliation_overdue', 'sweep_lag'", "'sweep_lag'");
	$update .= "ALTER TYPE \@extschema\@.credit_alert_kind ADD VALUE 'reconciliation_overdue' BEFORE 'sweep_lag';\n";
	$older .= q{
		ALTER TABLE @extschema@.credit_key_removal DROP COLUMN next_page;
		ALTER TABLE @extschema@.credit_finding DROP CONSTRAINT credit_finding_resolved_check;
		ALTER TABLE @extschema@.credit_account RESET (fillfactor);
		DROP INDEX @extschema@.credit_alert_opened_at_idx;
		DROP TRIGGER credit_entry_no_truncate ON @extschema@.credit_entry_default;
		COMMENT ON TABLE @extschema@.credit_stat IS 'older';
	};
	my ($column_comment) = statements($present, qr/COMMENT ON COLUMN \@extschema\@\.credit_key_removal\.next_page/);
	my ($table_comment) = statements($present, qr/COMMENT ON TABLE \@extschema\@\.credit_stat/);
	$update .= q{
		ALTER TABLE @extschema@.credit_key_removal ADD COLUMN next_page bigint;
		ALTER TABLE @extschema@.credit_finding
			ADD CONSTRAINT credit_finding_resolved_check CHECK ((resolution IS NULL) = (resolved_at IS NULL));
		ALTER TABLE @extschema@.credit_account SET (fillfactor = 50);
		CREATE INDEX credit_alert_opened_at_idx ON @extschema@.credit_alert (opened_at);
		CREATE TRIGGER credit_entry_no_truncate BEFORE TRUNCATE ON @extschema@.credit_entry_default
			FOR EACH STATEMENT EXECUTE FUNCTION credit_ledger_internal.entry_append_only();
	} . $column_comment . $table_comment;
	my $dumped = "SELECT pg_extension_config_dump('\@extschema\@.credit_stat', '');\n";
	$older = without($older, $dumped);
	$update .= $dumped;

	# New objects come with the host's default privileges.
	return ($older, $update . $privileges);
}

sub made_up_router
{
	my (undef, $present) = @_;
	my $privileges = substr($present, rindex($present, 'DO $$'));
	my ($created, $comment) = statements($present, qr/CREATE FUNCTION \@extschema\@\.credit_balance\(/,
		qr/COMMENT ON FUNCTION \@extschema\@\.credit_balance\(/);

	return (without($present, $created, $comment),
		qq{\\echo Use "ALTER EXTENSION credit_ledger_router UPDATE" to load this file. \\quit\n$created$comment$privileges});
}

# The statements of a script that begin so.
sub statements
{
	my ($script, @beginnings) = @_;

	return map { $script =~ /^($_.*?;\n)(?=\n|COMMENT|CREATE|SELECT|--|ALTER)/ms ? $1 : die "no statement $_" } @beginnings;
}

sub without
{
	my ($script, @parts) = @_;

	$script = replaced($script, $_, '') foreach @parts;
	return $script;
}

sub replaced
{
	my ($script, $part, $by) = @_;
	my $at = index($script, $part);

	die "the script has no \"$part\"" if $at < 0;
	substr($script, $at, length $part) = $by;
	return $script;
}

sub make_file
{
	my ($name, $text) = @_;

	append_to_file("$directory/$name", $text);
	push @made, "$directory/$name";
}

# Where CREATE EXTENSION looks; of the copy of the server that the tests run on.
sub installed_directory
{
	my $pg_config = $ENV{PG_CONFIG} // 'pg_config';

	chomp(my $sharedir = qx{$pg_config --sharedir});
	return "$sharedir/extension";
}

# The catalog's facts, after a change that is rolled back.
sub catalog
{
	my ($extension, $database, $change) = @_;
	my $query = $CATALOG =~ s/:'extension'/'$extension'/gr;

	return rows($node, 'BEGIN; SET LOCAL allow_system_table_mods = on; ' . ($change // 'SELECT') . "; $query; ROLLBACK",
		database => $database);
}

sub kinds
{
	my %kind = map { /^([^|]*)\|/ ? ($1 => 1) : () } @$fresh;

	return (keys %kind, 'policy', 'column privilege');
}

# Facts of either that the other does not have.
sub differences
{
	my ($one, $other) = @_;
	my %one = map { $_ => 1 } @$one;
	my %other = map { $_ => 1 } @$other;

	return ((map { "$_ (missing)" } grep { !$other{$_} } @$one), (map { "$_ (too much)" } grep { !$one{$_} } @$other));
}
