-- docs/lots.md is read by somebody who has the extension.

CREATE EXTENSION credit_ledger;
