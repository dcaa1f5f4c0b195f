-- The role that the service logs in as, which may do nothing itself, and those that its keys stand for.
CREATE ROLE credits_app;
CREATE ROLE credits_operator;
CREATE ROLE credits_reader;
SELECT credit_grant_privileges('credits_app', 'app'),
       credit_grant_privileges('credits_operator', 'operator'),
       credit_grant_privileges('credits_reader', 'reader');
CREATE ROLE credits_api LOGIN NOINHERIT IN ROLE credits_app, credits_operator, credits_reader;
