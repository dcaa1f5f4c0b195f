EXTENSION = credit_ledger
EXTVERSION := $(shell sed -n "s/^default_version = '\(.*\)'/\1/p" credit_ledger.control)

MODULE_big = credit_ledger
OBJS = $(patsubst %.c,%.o,$(sort $(wildcard src/*.c)))

# The install script is joined from its parts in this order.
SQL_PARTS = types tables functions reading verify operation privileges
DATA_built = credit_ledger--$(EXTVERSION).sql

PG_CONFIG ?= pg_config
PGXS := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)

$(OBJS): $(wildcard src/*.h)

credit_ledger--$(EXTVERSION).sql: $(SQL_PARTS:%=sql/%.sql) credit_ledger.control
	{ echo '\echo Use "CREATE EXTENSION credit_ledger" to load this file. \quit'; cat $(SQL_PARTS:%=sql/%.sql); } > $@
