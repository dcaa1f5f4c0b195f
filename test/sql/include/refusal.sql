\set ECHO none
-- pg_temp.refusal(statement): how a statement was refused, as a text of lines: the statement, then SQLSTATE and
-- message, DETAIL and HINT, and the item of an array that is named. A statement that is not refused keeps its effects
-- and says so.
CREATE FUNCTION pg_temp.refusal(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  state text;
  message text;
  detail text;
  hint text;
  context text;
BEGIN
  EXECUTE statement;
  RETURN pg_catalog.concat(statement, E'\n  NOT REFUSED');
EXCEPTION WHEN OTHERS THEN
  GET STACKED DIAGNOSTICS
    state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT,
    context = PG_EXCEPTION_CONTEXT;
  RETURN pg_catalog.concat_ws(E'\n', statement,
                              '  ' OPERATOR(pg_catalog.||) state OPERATOR(pg_catalog.||) ': ' OPERATOR(pg_catalog.||) message,
                              '  DETAIL: ' OPERATOR(pg_catalog.||) NULLIF(detail, ''),
                              '  HINT: ' OPERATOR(pg_catalog.||) NULLIF(hint, ''),
                              '  CONTEXT: ' OPERATOR(pg_catalog.||) pg_catalog.substring(context, '^item [0-9]+ of [^\n]*'));
END
$$;

-- pg_temp.named(told, org): told with the campaign in angle brackets for each authorization id of the organisation.
CREATE FUNCTION pg_temp.named(told text, org text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  id text;
  campaign text;
BEGIN
  FOR id, campaign IN SELECT l.authorization_id, l.campaign_id FROM credit_ledger AS l WHERE l.org_id = org LOOP
    told := replace(told, id, format('<%s>', campaign));
  END LOOP;
  RETURN told;
END
$$;
\set SHOW_CONTEXT never
\set ECHO all
