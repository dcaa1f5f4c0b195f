# make, make install, make installcheck: build, install and test the extension with PG_CONFIG, as any PGXS extension.
# make demo, make demo-http, make demo-shards, make test, make test-assert, make test-fuzz, make bench: need nothing but Debian.
# They install the packages they need, then work in a throwaway copy of the server (scripts/with-server).

EXTENSION = credit_ledger credit_ledger_router
EXTVERSION := $(shell sed -n "s/^default_version = '\(.*\)'/\1/p" credit_ledger.control)

MODULE_big = credit_ledger
OBJS = $(patsubst %.c,%.o,$(sort $(wildcard src/*.c src/*/*.c)))
PG_CPPFLAGS = -I$(if $(srcdir),$(srcdir),.)/src -DCL_VERSION='"$(EXTVERSION)"'

# The install script is joined from its parts in this order.
SQL_PARTS = schemas types tables alerts functions shards lots reading arrival retention worker verify findings usage incidents health judgement reconciliation scheduling import monitoring partition privileges
ROUTER_PARTS = partitions ledger many configuration
DATA_built = credit_ledger--$(EXTVERSION).sql credit_ledger_router--$(EXTVERSION).sql
DATA = $(wildcard sql/updates/*.sql)

REGRESS = $(sort $(basename $(notdir $(wildcard test/sql/*.sql))))
REGRESS_OPTS = --inputdir=test --load-extension=credit_ledger
ISOLATION = $(sort $(basename $(notdir $(wildcard test/isolation/specs/*.spec))))
ISOLATION_OPTS = --inputdir=test/isolation --load-extension=credit_ledger

PG_CONFIG ?= pg_config
PGXS := $(wildcard $(shell $(PG_CONFIG) --pgxs 2>/dev/null))
ifneq ($(PGXS),)
include $(PGXS)
else
all install uninstall installcheck clean:
	$(error $(PG_CONFIG) finds no PostgreSQL server headers: install postgresql-server-dev-NN, or set PG_CONFIG)
endif

$(OBJS) $(OBJS:.o=.bc): $(wildcard src/*.h src/*/*.h) credit_ledger.control

credit_ledger--$(EXTVERSION).sql: $(SQL_PARTS:%=sql/%.sql) credit_ledger.control
	{ printf '%s\n' '\echo Use "CREATE EXTENSION credit_ledger" to load this file. \quit'; cat $(SQL_PARTS:%=sql/%.sql); } > $@

credit_ledger_router--$(EXTVERSION).sql: $(ROUTER_PARTS:%=sql/router/%.sql) credit_ledger_router.control
	{ printf '%s\n' '\echo Use "CREATE EXTENSION credit_ledger_router" to load this file. \quit'; cat $(ROUTER_PARTS:%=sql/router/%.sql); } > $@

# pg_regress would take ./sql/NAME.sql before test/sql/NAME.sql.
installcheck: test-names
test-names:
	$(if $(filter $(SQL_PARTS),$(REGRESS)),$(error rename test/sql/$(filter $(SQL_PARTS),$(REGRESS)).sql: a part of the install script has that name))

demo:
	scripts/install-packages demo
	demo/with-server demo/run

demo-shards:
	scripts/install-packages demo-shards
	scripts/with-server --no-server demo/shards/run

demo-http:
	scripts/install-packages http
	scripts/with-server examples/http/demo

test:
	scripts/install-packages test
	test/run

# On every version that Debian has, each in a fresh Debian; and pg_upgrade from one to the next.
test-versions:
	scripts/install-packages chroot
	test/versions/run

# Debian's packages for the machine's own suite, built in a fresh one, and the archive for PGXN.
deb:
	scripts/install-packages chroot
	mkdir -p packages
	scripts/fresh-debian --shared packages own scripts/build-deb

dist:
	scripts/install-packages dist
	scripts/make-dist .

test-packages:
	scripts/install-packages chroot
	scripts/install-packages dist
	test/packages/run

# On a server with assertions, which is built first if need be.
test-assert:
	scripts/install-packages test
	scripts/install-packages assert
	PG_CONFIG=$$(scripts/assert-server) && export PG_CONFIG && test/run

test-fuzz:
	scripts/install-packages fuzz
	scripts/install-packages assert
	PG_CONFIG=$$(scripts/assert-server) && export PG_CONFIG && \
		scripts/with-server --conf test/fuzz/postgresql.conf test/fuzz/run

bench:
	scripts/install-packages bench
	bench/run

format:
	clang-format-19 -i src/*.c src/*.h src/*/*.c src/*/*.h

.PHONY: bench deb demo demo-http demo-shards dist format test test-assert test-fuzz test-names test-packages test-versions
