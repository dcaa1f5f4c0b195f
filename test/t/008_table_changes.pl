# Goal: what a DBA does to the ledger's tables takes effect at once in sessions that have worked with them before:
# partitions, indexes, triggers, constraints, columns and foreign keys. What others keep in columns of their own stays.
#
# Method: one session works on and on, another one changes the tables in between. Each subject has a database of its
# own, and ends with a sound ledger and with indexes that have an entry for every row.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;
use LedgerServer;
use PostgreSQL::Test::Cluster;
use Test::More;

my $node = new_server('table_changes', '');
my ($database, $session);

subject('partitions', sub {
	my $leaves = sub {
		my ($table) = @_;
		return qq{
			SELECT tableoid = '${table}_default'::regclass, count(*) FROM $table GROUP BY 1 ORDER BY 1 DESC};
	};

	works('a');
	answers($leaves->('credit_ledger_settled'), 't|2', 'without partitions, everything is in the default');
	dba(q{
		SELECT credit_create_partition('credit_ledger_settled', clock_timestamp(), '2200-01-01');
		SELECT credit_create_partition('credit_entry', clock_timestamp(), '2200-01-01');
		SELECT credit_create_partition('credit_entry', '2000-01-01', '2001-01-01')});
	works('b');
	answers($leaves->('credit_ledger_settled'), "t|2\nf|2", 'what was created since then is in the partition');
	answers($leaves->('credit_entry'), "t|2\nf|1", 'entries too');
	answers(q{
		SELECT replayed FROM ids, credit_commit(id) WHERE name IN ('a charged', 'b charged') ORDER BY name},
		"t\nt", 'both are found');

	my $leaf = dba(q{
		SELECT DISTINCT tableoid::regclass FROM credit_entry WHERE tableoid <> 'credit_entry_default'::regclass});
	refused('23001', "UPDATE $leaf SET amount = 1", 'entries of a partition stay as they are');
	refused('23001', "DELETE FROM $leaf", 'and where they are');
	refused('23001', "TRUNCATE $leaf", 'even all at once');

	$leaf = dba(q{SELECT tableoid::regclass FROM credit_ledger WHERE campaign_id = 'b charged'});
	dba("ALTER TABLE credit_ledger_settled DETACH PARTITION $leaf; DROP TABLE $leaf");
	refused('LC003', q{SELECT credit_commit(id) FROM ids WHERE name = 'b charged'}, 'what was detached is history');
	works('c');
	answers($leaves->('credit_ledger_settled'), 't|4', 'and the work goes on in the default');
});

subject('a bound within a millisecond', sub {
	# An id tells the millisecond in which it was made, and with it the leaf in which its row stands.
	$session->query_safe(q{
		INSERT INTO ids
		  SELECT 'edge ' || i, (credit_authorize('acme', 1, 'edge ' || i)).authorization_id FROM generate_series(1, 9) i});
	dba(q{
		SELECT credit_create_partition('credit_ledger_settled', l.created_at, '2200-01-01')
		FROM credit_ledger l WHERE campaign_id = 'edge 5'});
	answers(q{
		SELECT count(*) FROM ids, credit_commit(id) WHERE NOT replayed;
		SELECT count(*) FROM ids, credit_commit(id) WHERE replayed},
		"9\n9", 'all are charged, and found again');
	answers(q{
		SELECT count(*) FROM credit_ledger_settled_default;
		SELECT count(*) FROM credit_ledger_settled},
		"4\n9", 'each in its partition');
});

subject('a partition without an index', sub {
	dba(q{CREATE TABLE bare PARTITION OF credit_ledger_settled FOR VALUES FROM ('2020-01-01') TO ('2200-01-01')});
	settles_in('bare');
});

subject('a partition with partitions', sub {
	dba(q{
		CREATE TABLE hashed PARTITION OF credit_ledger_settled FOR VALUES FROM ('2020-01-01') TO ('2200-01-01')
		  PARTITION BY HASH (authorization_id);
		CREATE TABLE hashed_0 PARTITION OF hashed (PRIMARY KEY (authorization_id))
		  FOR VALUES WITH (MODULUS 2, REMAINDER 0);
		CREATE TABLE hashed_1 PARTITION OF hashed (PRIMARY KEY (authorization_id))
		  FOR VALUES WITH (MODULUS 2, REMAINDER 1)});
	settles_in('hashed');
});

subject('a partition with another order of columns', sub {
	dba(q{
		SELECT format('CREATE TABLE odd (gone integer, %s, also_gone text)',
		              string_agg(format('%I %s%s%s', attname, format_type(atttypid, atttypmod),
		                                CASE attcollation WHEN '"C"'::regcollation THEN ' COLLATE "C"' END,
		                                CASE WHEN attnotnull THEN ' NOT NULL' END), ', ' ORDER BY attnum DESC))
		FROM pg_attribute WHERE attrelid = 'credit_ledger_settled'::regclass AND attnum > 0 \gexec
		ALTER TABLE odd DROP COLUMN gone, DROP COLUMN also_gone, ADD PRIMARY KEY (authorization_id);
		SELECT format('ALTER TABLE odd ADD CONSTRAINT %I %s', conname, pg_get_constraintdef(oid))
		FROM pg_constraint WHERE conrelid = 'credit_ledger_settled'::regclass AND contype = 'c' \gexec
		ALTER TABLE credit_ledger_settled ATTACH PARTITION odd FOR VALUES FROM ('2020-01-01') TO ('2200-01-01')});
	settles_in('odd');
});

subject('indexes', sub {
	works('a');
	dba(q{
		CREATE INDEX by_campaign ON credit_ledger_open (campaign_id);
		CREATE INDEX by_reason ON credit_ledger_settled_default (lower(reason)) WHERE status = 'reverted';
		CREATE INDEX by_metadata ON credit_ledger_settled_default USING gin (metadata);
		CREATE INDEX by_balance ON credit_account (balance) INCLUDE (held);
		CREATE INDEX by_kind ON credit_entry (kind);
		CREATE UNIQUE INDEX one_open_hold_of_globex ON credit_ledger_open (org_id) WHERE org_id = 'globex';
		SELECT credit_grant('globex', 100, 'g-1')});
	works('b');
	answers(q{
		BEGIN;
		SET LOCAL enable_seqscan = off;
		SELECT campaign_id FROM credit_ledger_open WHERE campaign_id = 'b open';
		SELECT campaign_id FROM credit_ledger_settled_default
		WHERE lower(reason) = 'not sent' AND status = 'reverted' ORDER BY campaign_id;
		SELECT count(*) FROM credit_ledger_settled_default WHERE metadata @> '{"channel": "mail"}';
		SELECT balance, held FROM credit_account WHERE balance = 88;
		SELECT count(*) FROM credit_entry WHERE kind = 'commit';
		COMMIT},
		"b open\na given back\nb given back\n4\n88|20\n2", 'the indexes find what is there');
	answers(q{SELECT available FROM credit_authorize('globex', 1, 'first')}, '99', 'a unique index lets one pass');
	refused('23505', q{SELECT credit_authorize('globex', 1, 'second')}, 'but not two');
	answers(q{SELECT held FROM credit_balance('globex')}, '1', 'and nothing of the second is there');
});

subject('triggers', sub {
	works('a');
	dba(q{
		CREATE TABLE outbox (table_name text, event text, what text);
		CREATE FUNCTION to_outbox() RETURNS trigger LANGUAGE plpgsql AS $$
		BEGIN
		  INSERT INTO outbox
			SELECT TG_RELID::regclass, TG_OP, coalesce(r.j ->> 'campaign_id', r.j ->> 'kind', r.j ->> 'balance')
			FROM (SELECT to_jsonb(CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END) AS j) r;
		  RETURN NULL;
		END
		$$;
		CREATE TRIGGER to_outbox AFTER INSERT OR UPDATE OR DELETE ON credit_ledger
		  FOR EACH ROW EXECUTE FUNCTION to_outbox();
		CREATE TRIGGER to_outbox AFTER INSERT ON credit_entry
		  FOR EACH ROW EXECUTE FUNCTION to_outbox();
		CREATE TRIGGER to_outbox AFTER UPDATE ON credit_account
		  FOR EACH ROW WHEN (OLD.balance <> NEW.balance) EXECUTE FUNCTION to_outbox();

		CREATE FUNCTION mark() RETURNS trigger LANGUAGE plpgsql AS
		  $$ BEGIN NEW.metadata := coalesce(NEW.metadata, '{}') || '{"marked": true}'; RETURN NEW; END $$;
		CREATE TRIGGER mark BEFORE INSERT ON credit_ledger FOR EACH ROW EXECUTE FUNCTION mark();
		CREATE TRIGGER mark BEFORE UPDATE ON credit_account FOR EACH ROW EXECUTE FUNCTION mark()});
	works('b');
	answers('SELECT table_name, event, what FROM outbox ORDER BY table_name, event, what',
		join("\n",
			'credit_account|UPDATE|88',
			'credit_entry_default|INSERT|commit',
			'credit_ledger_open|DELETE|b charged',
			'credit_ledger_open|DELETE|b given back',
			'credit_ledger_open|INSERT|b charged',
			'credit_ledger_open|INSERT|b given back',
			'credit_ledger_open|INSERT|b open',
			'credit_ledger_settled_default|INSERT|b charged',
			'credit_ledger_settled_default|INSERT|b given back'),
		'row triggers after the fact fire');
	answers(q{
		SELECT campaign_id, metadata FROM credit_ledger WHERE campaign_id IN ('a open', 'b open') ORDER BY campaign_id;
		SELECT metadata FROM credit_account},
		qq(a open|{"channel": "mail"}\nb open|{"marked": true, "channel": "mail"}\n{"marked": true}),
		'and those before it change rows');
	dba(q{
		DROP TRIGGER to_outbox ON credit_ledger;
		ALTER TABLE credit_entry DISABLE TRIGGER to_outbox;
		DROP TRIGGER to_outbox ON credit_account;
		TRUNCATE outbox});
	works('c');
	answers('SELECT count(*) FROM outbox', '0', 'until they are dropped or disabled');
});

subject('columns', sub {
	works('a');
	dba(q{
		ALTER TABLE credit_ledger ADD COLUMN cost_centre text DEFAULT 'none', ADD COLUMN passing integer,
		  ADD COLUMN noted text;
		ALTER TABLE credit_account ADD COLUMN owner_name text DEFAULT 'nobody', ADD COLUMN passing integer,
		  ADD COLUMN spendable bigint GENERATED ALWAYS AS (balance - held + credit_limit) STORED;
		ALTER TABLE credit_entry ADD COLUMN posted_by text NOT NULL DEFAULT current_user;
		ALTER TABLE credit_idempotency ADD COLUMN remark text DEFAULT 'kept';
		UPDATE credit_account SET owner_name = 'Ada';
		UPDATE credit_ledger_open SET noted = 'by hand' WHERE campaign_id = 'a open'});
	works('b');
	dba('ALTER TABLE credit_ledger DROP COLUMN passing; ALTER TABLE credit_account DROP COLUMN passing');
	works('c');
	answers(q{
		SELECT status, amount FROM ids, credit_commit(id, 4) WHERE name = 'a open';
		SELECT campaign_id, cost_centre, noted FROM credit_ledger ORDER BY campaign_id;
		SELECT balance, held, owner_name, spendable FROM credit_account;
		SELECT DISTINCT posted_by = current_user FROM credit_entry;
		SELECT DISTINCT remark FROM credit_idempotency},
		join("\n",
			'committed|4',
			'a charged|none|', 'a given back|none|', 'a open|none|by hand',
			(map { ("$_ charged|none|", "$_ given back|none|", "$_ open|none|") } qw(b c)),
			'78|20|Ada|58',
			't',
			'kept'),
		'what others stored survives, defaults are filled in, what is generated is up to date');
	dba('ALTER TABLE credit_ledger ALTER COLUMN cost_centre SET NOT NULL, ALTER COLUMN cost_centre DROP DEFAULT');
	refused('23502', q{SELECT credit_authorize('acme', 1, 'without')}, 'a column that must be filled');
});

subject('constraints', sub {
	works('a');
	dba(q{
		ALTER TABLE credit_account ADD CONSTRAINT not_too_rich CHECK (balance <= 200);
		ALTER TABLE credit_ledger ADD CONSTRAINT not_too_much CHECK (amount <= 50)});
	refused('23514', q{SELECT credit_grant('acme', 1000, 'g-2')}, 'a constraint on accounts');
	refused('23514', q{SELECT credit_authorize('acme', 51, 'too much')}, 'a constraint on the ledger');
	works('b');
	dba('ALTER TABLE credit_account DROP CONSTRAINT not_too_rich');
	answers(q{SELECT balance_after FROM credit_grant('acme', 1000, 'g-2')}, '1088', 'until it is dropped');
});

subject('calls for many', sub {
	works_on_many('a');
	dba(q{
		SELECT credit_create_partition('credit_ledger_settled', clock_timestamp(), '2200-01-01');
		SELECT credit_create_partition('credit_entry', clock_timestamp(), '2200-01-01');
		CREATE UNIQUE INDEX by_campaign ON credit_ledger_open (lower(campaign_id));
		ALTER TABLE credit_ledger ADD COLUMN cost_centre text DEFAULT 'none',
		  ADD CONSTRAINT not_too_much CHECK (amount <= 50);
		ALTER TABLE credit_entry ADD COLUMN posted_by text NOT NULL DEFAULT current_user;
		CREATE TABLE outbox (event text, status text, campaign_id text);
		CREATE FUNCTION to_outbox() RETURNS trigger LANGUAGE plpgsql AS
		  $$ BEGIN INSERT INTO outbox VALUES (TG_OP, NEW.status, NEW.campaign_id); RETURN NULL; END $$;
		CREATE TRIGGER to_outbox AFTER INSERT ON credit_ledger FOR EACH ROW EXECUTE FUNCTION to_outbox();
		CREATE FUNCTION mark() RETURNS trigger LANGUAGE plpgsql AS
		  $$ BEGIN NEW.metadata := '{"marked": true}'; RETURN NEW; END $$;
		CREATE TRIGGER mark BEFORE INSERT ON credit_ledger FOR EACH ROW EXECUTE FUNCTION mark()});
	works_on_many('b');
	answers(q{
		SELECT campaign_id, status, amount, cost_centre, metadata, l.tableoid = 'credit_ledger_settled_default'::regclass
		FROM credit_ledger l WHERE campaign_id ~ '^b' ORDER BY campaign_id;
		SELECT entry_no, amount, posted_by = current_user, tableoid = 'credit_entry_default'::regclass
		FROM credit_entry WHERE kind = 'commit' ORDER BY entry_no;
		SELECT * FROM outbox ORDER BY campaign_id, status},
		join("\n",
			'b charged|committed|6|none|{"marked": true}|f',
			'b given back|reverted|10|none|{"marked": true}|f',
			'b open|authorized|10|none|{"marked": true}|f',
			'2|-6|t|t',
			'3|-6|t|f',
			'INSERT|authorized|b charged', 'INSERT|committed|b charged',
			'INSERT|authorized|b given back', 'INSERT|reverted|b given back',
			'INSERT|authorized|b open'),
		'partitions, columns and triggers take effect');
	refused('23514', q{SELECT credit_authorize_many('{acme,acme}', '{1,51}', '{fits,too much}')}, 'a constraint too');
	refused('23505', q{SELECT credit_authorize_many('{acme,acme}', '{1,1}', '{Twin,twin}')}, 'and a unique index');
	answers(q{SELECT held FROM credit_balance('acme')}, '20', 'and nothing of what was refused is there');
});

subject('a foreign key', sub {
	works('a');
	dba('CREATE TABLE campaign (name text, org_id text REFERENCES credit_account)');
	$session->query_safe(q{BEGIN; INSERT INTO campaign VALUES ('a', 'acme')});
	is(dba(q{SET lock_timeout = '10ms'; SELECT available FROM credit_authorize('acme', 1, 'meanwhile')}),
		'83', 'a row that refers to an account keeps nobody from working with it');
	$session->query_safe(q{COMMIT; BEGIN; SELECT credit_authorize('acme', 1, 'mine')});
	is(dba(q{SET lock_timeout = '10ms'; INSERT INTO campaign VALUES ('b', 'acme') RETURNING name}),
		'b', 'nor does working with it keep rows from referring to it');
	$session->query_safe('COMMIT');
	refused('23503', q{INSERT INTO campaign VALUES ('c', 'nobody')}, 'an account that does not exist');
});

$node->stop;
done_testing();

# Runs a subject in a database of its own, with a session that has granted 100 credits to acme.
sub subject
{
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($name, $code) = @_;

	($database = $name) =~ tr/a-z/_/c;
	$node->safe_psql('postgres', "CREATE DATABASE $database");
	dba('CREATE EXTENSION credit_ledger; CREATE TABLE ids (name text, id text)');
	$session = $node->background_psql($database, on_error_stop => 0);
	$session->query_safe(q{SELECT credit_grant('acme', 100, 'g-1')});
	subtest $name => sub {
		$code->();
		$session->quit;
		is_sound($node, 'the ledger is sound', database => $database);
		indexes_are_sound($node, 'every index has every row', database => $database);
	};
}

# What the DBA does, in a session apart.
sub dba
{
	return $node->safe_psql($database, $_[0]);
}

# What the session that works on and on is told.
sub answers
{
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($sql, $expected, $name) = @_;

	return is($session->query_safe($sql), $expected, $name);
}

sub refused
{
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($sqlstate, $sql, $name) = @_;

	return fails_with($node, $sqlstate, $sql, $name, database => $database);
}

# The session's work: of three holds of 10 credits one is charged 6, one is given back, one stays open.
sub works
{
	my ($label) = @_;

	$session->query_safe(qq{
		INSERT INTO ids
		  SELECT name, (credit_authorize('acme', 10, name, metadata => '{"channel": "mail"}')).authorization_id
		  FROM unnest('{$label charged,$label given back,$label open}'::text[]) AS name;
		SELECT credit_commit(id, 6) FROM ids WHERE name = '$label charged';
		SELECT credit_revert(id, 'not sent') FROM ids WHERE name = '$label given back'});
}

# The same by calls for many.
sub works_on_many
{
	my ($label) = @_;

	$session->query_safe(qq{
		INSERT INTO ids
		  SELECT campaign_id, authorization_id
		  FROM credit_authorize_many('{acme,acme,acme}', '{10,10,10}', '{$label charged,$label given back,$label open}');
		SELECT credit_commit_many(array_agg(id), '{6}') FROM ids WHERE name = '$label charged';
		SELECT credit_revert_many(array_agg(id), 'not sent') FROM ids WHERE name = '$label given back'});
}

# Settled rows stand in that table, and are read and changed there.
sub settles_in
{
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($table) = @_;

	works('a');
	answers(qq{
		SELECT campaign_id, status, amount, authorized_amount, refunded_amount, settled_by, reason, metadata
		FROM $table ORDER BY campaign_id},
		qq(a charged|committed|6|10|0|caller||{"channel": "mail"}\n)
		  . qq(a given back|reverted|10|10|0|caller|not sent|{"channel": "mail"}),
		'rows stand in it');
	answers(q{
		SELECT amount, balance_after FROM ids, credit_refund(id, 'r-1', 2) WHERE name = 'a charged';
		SELECT status, amount, refunded_amount, reason, replayed FROM ids, credit_commit(id, 6) WHERE name = 'a charged';
		SELECT status, amount, refunded_amount, reason, replayed FROM ids, credit_revert(id) WHERE name = 'a given back'},
		"2|96\ncommitted|6|2||t\nreverted|10|0|not sent|t",
		'and are read and changed there');
}
