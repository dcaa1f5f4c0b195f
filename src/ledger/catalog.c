/*-------------------------------------------------------------------------
 *
 * catalog.c
 *	  The OIDs of the extension's own tables, types and enum labels.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_enum.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "storage/sinval.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "ledger/catalog.h"
#include "compat.h"

static const char *const table_names[CL_NTABLES] = {
	[CL_TABLE_ACCOUNT] = "credit_account",
	[CL_TABLE_OPEN] = "credit_ledger_open",
	[CL_TABLE_SETTLED] = "credit_ledger_settled",
	[CL_TABLE_ENTRY] = "credit_entry",
	[CL_TABLE_IDEMPOTENCY] = "credit_idempotency",
	[CL_TABLE_LOT] = "credit_lot",
	[CL_TABLE_SHARD] = "credit_shard",
	[CL_TABLE_MOVED] = "credit_account_moved",
	[CL_TABLE_DETACHED] = "credit_detached_partition",
};

static const char *const type_names[CL_NTYPES] = {
	[CL_TYPE_AUTHORIZATION] = "credit_authorization",
	[CL_TYPE_MOVEMENT] = "credit_movement",
	[CL_TYPE_ACCOUNT_BALANCE] = "credit_account_balance",
};

static const struct
{
	const char *name;
	const char *labels[CL_MAX_LABELS];
} enums[CL_NENUMS] = {
	[CL_ENUM_STATUS] = {"credit_status", {"authorized", "committed", "reverted"}},
	[CL_ENUM_TIMEOUT_ACTION] = {"credit_timeout_action", {"commit", "revert"}},
	[CL_ENUM_ACTOR] = {"credit_actor", {"caller", "timeout"}},
	[CL_ENUM_ENTRY_KIND] = {"credit_entry_kind",
							{"grant", "commit", "refund", "true_up", "adjustment", "expiry", "void"}},
	[CL_ENUM_OPERATION] = {"credit_operation", {"grant", "adjust", "authorize", "refund", "void"}},
};

static struct
{
	bool valid;
	Oid tables[CL_NTABLES];
	Oid types[CL_NTYPES];
	Oid enum_types[CL_NENUMS];
	Oid labels[CL_NENUMS][CL_MAX_LABELS];
} cache;

static void catalog_forget(Datum arg, Oid relid);
static void catalog_load(void);
static void catalog_require_version(Oid extension);
static const char *extension_version(Oid extension);
static bool is_older(const char *version, const char *other);
static void catalog_load_labels(clEnumId id, Oid schema);
static Oid catalog_table(const char *name, Oid schema);
static Oid catalog_type(const char *name, Oid schema);

static inline void
catalog_require(void)
{
	if (!cache.valid)
		catalog_load();
}

void
cl_catalog_init(void)
{
	CacheRegisterRelcacheCallback(catalog_forget, (Datum) 0);
}

Oid
cl_table_oid(clTableId table)
{
	catalog_require();
	return cache.tables[table];
}

Oid
cl_type_oid(clTypeId type)
{
	catalog_require();
	return cache.types[type];
}

Oid
cl_enum_type_oid(clEnumId type)
{
	catalog_require();
	return cache.enum_types[type];
}

Datum
cl_enum_datum(clEnumId type, int label)
{
	Assert(label >= 0 && label < CL_MAX_LABELS && enums[type].labels[label] != NULL);

	catalog_require();
	return ObjectIdGetDatum(cache.labels[type][label]);
}

int
cl_enum_label(clEnumId type, Datum value)
{
	catalog_require();
	for (int label = 0; label < CL_MAX_LABELS && enums[type].labels[label] != NULL; label++)
	{
		if (cache.labels[type][label] == DatumGetObjectId(value))
			return label;
	}
	ereport(ERROR,
			(errcode(ERRCODE_DATATYPE_MISMATCH),
			 errmsg("value %u is none of the labels that extension \"credit_ledger\" gave type \"%s\"",
					DatumGetObjectId(value), enums[type].name)));
}

const char *
cl_enum_name(clEnumId type, int label)
{
	return enums[type].labels[label];
}

/*
 * Relcache callback: one of our tables changed or went (or everything did,
 * with InvalidOid).  The next use looks all of it up again.
 */
static void
catalog_forget(Datum arg, Oid relid)
{
	if (!OidIsValid(relid))
		cache.valid = false;
	for (int i = 0; cache.valid && i < CL_NTABLES; i++)
	{
		if (cache.tables[i] == relid)
			cache.valid = false;
	}
}

static void
catalog_load(void)
{
	uint64 messages;

	/* What somebody changed while it was looked up is looked up again; the way of RangeVarGetRelidExtended. */
	do
	{
		Oid extension = get_extension_oid("credit_ledger", true);
		Oid schema;

		if (!OidIsValid(extension))
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("extension \"credit_ledger\" is not installed in this database"),
					 errhint("Use CREATE EXTENSION credit_ledger.")));

		CHECK_FOR_INTERRUPTS();
		messages = SharedInvalidMessageCounter;
		catalog_require_version(extension);
		schema = get_extension_schema(extension);
		for (int i = 0; i < CL_NTABLES; i++)
			cache.tables[i] = catalog_table(table_names[i], schema);
		for (int i = 0; i < CL_NTYPES; i++)
			cache.types[i] = catalog_type(type_names[i], schema);
		for (int i = 0; i < CL_NENUMS; i++)
			catalog_load_labels(i, schema);
	} while (messages != SharedInvalidMessageCounter);
	cache.valid = !creating_extension;
}

/* A script that makes the extension another version calls what it needs; what it was told is not remembered. */
static void
catalog_require_version(Oid extension)
{
	const char *hint;
	const char *problem = creating_extension ? NULL : cl_catalog_other_version(extension, &hint);

	if (problem != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("%s", problem),
				 errhint("%s", hint)));
}

const char *
cl_catalog_other_version(Oid extension, const char **hint)
{
	const char *version = extension_version(extension);

	if (strcmp(version, CL_VERSION) == 0)
		return NULL;
	*hint = is_older(version, CL_VERSION) ?
		"Use ALTER EXTENSION credit_ledger UPDATE." :
		"Restart the server, or connect again where the library is not preloaded, so that the newer library is loaded.";
	return psprintf("the library credit_ledger is of version %s, its SQL in this database of version %s",
					CL_VERSION, version);
}

static const char *
extension_version(Oid extension)
{
	Relation rel = table_open(ExtensionRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple tuple;
	const char *version = "";

	ScanKeyInit(&key, Anum_pg_extension_oid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(extension));
	scan = systable_beginscan(rel, ExtensionOidIndexId, true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
	{
		bool isnull;

		version = TextDatumGetCString(heap_getattr(tuple, Anum_pg_extension_extversion,
												   RelationGetDescr(rel), &isnull));
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return version;
}

/* By the numbers between the dots. */
static bool
is_older(const char *version, const char *other)
{
	char *rest;
	char *other_rest;
	long number = strtol(version, &rest, 10);
	long other_number = strtol(other, &other_rest, 10);

	if (number != other_number || *rest != '.' || *other_rest != '.')
		return number < other_number || (number == other_number && *rest == '\0' && *other_rest == '.');
	return is_older(rest + 1, other_rest + 1);
}

/* Labels that were renamed, even exchanged, are not ours any more: rows would be read as something else. */
static void
catalog_load_labels(clEnumId id, Oid schema)
{
	Oid type = catalog_type(enums[id].name, schema);
	float4 last_order = 0;

	cache.enum_types[id] = type;
	for (int label = 0; label < CL_MAX_LABELS && enums[id].labels[label] != NULL; label++)
	{
		HeapTuple tuple = SearchSysCache2(ENUMTYPOIDNAME, ObjectIdGetDatum(type),
										  CStringGetDatum(enums[id].labels[label]));
		Form_pg_enum form = HeapTupleIsValid(tuple) ? (Form_pg_enum) GETSTRUCT(tuple) : NULL;

		if (form == NULL || form->enumsortorder <= last_order)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_OBJECT),
					 errmsg("type \"%s\" of extension \"credit_ledger\" no longer has its label \"%s\"",
							enums[id].name, enums[id].labels[label]),
					 errhint("Rename it back with ALTER TYPE ... RENAME VALUE.")));
		cache.labels[id][label] = form->oid;
		last_order = form->enumsortorder;
		ReleaseSysCache(tuple);
	}
}

static Oid
catalog_table(const char *name, Oid schema)
{
	Oid relid = get_relname_relid(name, schema);

	if (!OidIsValid(relid))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("table \"%s\" of extension \"credit_ledger\" does not exist", name)));
	return relid;
}

static Oid
catalog_type(const char *name, Oid schema)
{
	Oid type = GetSysCacheOid2(TYPENAMENSP, Anum_pg_type_oid,
							   CStringGetDatum(name), ObjectIdGetDatum(schema));

	if (!OidIsValid(type))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("type \"%s\" of extension \"credit_ledger\" does not exist", name)));
	return type;
}
