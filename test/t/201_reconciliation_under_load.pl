# Goal: reconciliation of a sound ledger finds nothing, at whatever moment it runs, and nobody waits for it.
#
# Method: an application that does everything right runs campaigns through the ledger, many at once: it authorizes, sends
# (reports usage in a transaction of its own), and commits what it sent or reverts; some campaigns take two authorizations,
# some are refunded. Meanwhile reconciliation runs again and again, over windows whose edges lie in the middle of it all:
# every run must see campaigns, and none may find anything. Then one campaign is made unsound, and is found.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;
use LedgerServer;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('load', '');

$node->safe_psql(
	'postgres', q{
	CREATE EXTENSION credit_ledger;
	CREATE TABLE usage (org_id text, campaign_id text, used_at timestamptz DEFAULT clock_timestamp(), quantity bigint);
	CREATE INDEX ON usage (org_id, campaign_id);
	CREATE INDEX ON usage (used_at);
	SELECT credit_usage_source_register('usage', 'usage');
	SELECT count(*) FROM generate_series(0, 9) n, credit_grant('org-' || n, 1000000000, 'opening')});

# One campaign: its name is unique by client and transaction.
my $script = "$PostgreSQL::Test::Utils::tmp_check/campaign.sql";
append_to_file($script, q{
\set org random(0, 9)
\set used random(0, 100)
\set way random(1, 10)
SELECT 'c' || nextval('campaign') AS campaign \gset
SELECT authorization_id FROM credit_authorize('org-:org', 100, ':campaign') \gset
\if :way = 1
INSERT INTO usage (org_id, campaign_id, quantity) VALUES ('org-:org', ':campaign', 0);
SELECT credit_revert(':authorization_id');
\elif :way = 2
SELECT authorization_id AS second FROM credit_authorize('org-:org', 50, ':campaign', ':campaign:2') \gset
INSERT INTO usage (org_id, campaign_id, quantity) VALUES ('org-:org', ':campaign', :used);
INSERT INTO usage (org_id, campaign_id, quantity) VALUES ('org-:org', ':campaign', 50);
SELECT credit_commit(':authorization_id', :used);
SELECT credit_commit(':second');
\else
INSERT INTO usage (org_id, campaign_id, quantity) VALUES ('org-:org', ':campaign', :used);
BEGIN;
SELECT credit_commit(':authorization_id', :used);
INSERT INTO usage (org_id, campaign_id, quantity) VALUES ('org-:org', ':campaign', 0);
COMMIT;
\endif
\if :way = 3 and :used > 0
SELECT credit_refund(':authorization_id', ':campaign', reason => 'goodwill');
\endif
});
$node->safe_psql('postgres', 'CREATE SEQUENCE campaign');

# The runs follow each other, each from the end of the one before (the first from the beginning); and a window of a
# tenth of a second in between. With tolerance 0, so that one credit would be found. Campaigns are run by the thousand until
# there were enough runs among them.
my ($runs, $judged, $found) = (0, 0, 0);
for (1 .. 20)
{
	my ($out, $err) = ('', '');
	my $load = IPC::Run::start(
		[
			'pgbench', '--no-vacuum', '--client=4', '--transactions=250', '--file', $script,
			'--host', $node->host, '--port', $node->port, 'postgres'
		],
		'<', \undef, '>', \$out, '2>', \$err);

	while ($load->pumpable && !$found)
	{
		my @run = split /[|\n]/, $node->safe_psql('postgres', q{
			SELECT judged, findings_new FROM credit_run_reconciliation(tolerance => 0)
			UNION ALL
			SELECT count(*), count(*) FILTER (WHERE verdict NOT IN ('balanced', 'in_flight'))
			FROM credit_ledger_internal.judge_campaigns(clock_timestamp() - interval '100 milliseconds', clock_timestamp(), 0, with_balanced => true)});
		$runs++;
		$judged += $run[0];
		$found = $run[1] + $run[3];
		$load->pump_nb;
	}
	$load->finish;
	like($out, qr/number of failed transactions: 0 /, 'no campaign failed') or diag $err;
	last if $found || $runs > 10 && $judged > 2000;
}
cmp_ok($runs, '>', 10, "$runs runs while campaigns went through");
cmp_ok($judged, '>', 2000, "$judged campaigns were judged");
is($node->safe_psql('postgres', 'SELECT * FROM credit_finding'), '', 'no run found anything');
is($node->safe_psql('postgres', 'SELECT * FROM credit_reconcile(tolerance => 0)'), $node->safe_psql('postgres', q{
	SELECT org_id, sum(CASE status WHEN 'committed' THEN amount - refunded_amount ELSE 0 END),
		   (SELECT sum(quantity) FROM usage u WHERE u.org_id = l.org_id),
		   sum(CASE status WHEN 'committed' THEN amount - refunded_amount ELSE 0 END) - (SELECT sum(quantity) FROM usage u WHERE u.org_id = l.org_id)
	FROM credit_ledger l GROUP BY org_id
	HAVING sum(CASE status WHEN 'committed' THEN amount - refunded_amount ELSE 0 END) <> (SELECT sum(quantity) FROM usage u WHERE u.org_id = l.org_id)
	ORDER BY org_id}), 'afterwards the organisations differ by their refunds');

# Nobody waits: with a run's transaction open, every verb of the ledger goes through at once.
my $session = $node->background_psql('postgres', on_error_stop => 0);
$session->query('BEGIN; SELECT run_id FROM credit_run_reconciliation()');
$node->safe_psql('postgres', q{
	SET lock_timeout = '1s';
	SELECT credit_grant('org-1', 1, 'beside');
	SELECT credit_refund((credit_commit((credit_extend((credit_authorize('org-1', 10, 'beside')).authorization_id, '1 hour')).authorization_id)).authorization_id, 'beside');
	SELECT credit_revert((credit_authorize('org-1', 10, 'beside:2')).authorization_id);
	SELECT credit_sweep()});
pass('with a run open, every verb goes through');
$session->query('COMMIT');
$session->quit;

$node->safe_psql('postgres', q{INSERT INTO usage (org_id, campaign_id, quantity) VALUES ('org-1', 'beside:2', 1)});
is($node->safe_psql('postgres', q{
	SELECT findings_new FROM credit_run_reconciliation(tolerance => 0)}), '1', 'one credit is found');
is_sound($node, 'the ledger is sound');
$node->stop;

done_testing();
