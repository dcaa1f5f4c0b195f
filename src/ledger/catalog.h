/*-------------------------------------------------------------------------
 *
 * catalog.h
 *	  The OIDs of the extension's own tables, types and enum labels.
 *
 * They are looked up by name in the extension's schema when first needed and
 * forgotten when one of the tables is invalidated, so that DROP and CREATE
 * EXTENSION in the same session works, in whatever schema.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CL_CATALOG_H
#define CL_CATALOG_H

typedef enum clTableId
{
	CL_TABLE_ACCOUNT,
	CL_TABLE_OPEN,	  /* credit_ledger_open */
	CL_TABLE_SETTLED, /* credit_ledger_settled, partitioned */
	CL_TABLE_ENTRY,	  /* credit_entry, partitioned */
	CL_TABLE_IDEMPOTENCY,
	CL_TABLE_LOT,
	CL_TABLE_SHARD,
	CL_TABLE_MOVED,	  /* credit_account_moved */
	CL_TABLE_DETACHED /* credit_detached_partition */
} clTableId;

#define CL_NTABLES (CL_TABLE_DETACHED + 1)

typedef enum clTypeId
{
	CL_TYPE_AUTHORIZATION,
	CL_TYPE_MOVEMENT,
	CL_TYPE_ACCOUNT_BALANCE
} clTypeId;

#define CL_NTYPES (CL_TYPE_ACCOUNT_BALANCE + 1)

/* The enum types; the labels of each are listed in the order of its C enum. */
typedef enum clEnumId
{
	CL_ENUM_STATUS,
	CL_ENUM_TIMEOUT_ACTION,
	CL_ENUM_ACTOR,
	CL_ENUM_ENTRY_KIND,
	CL_ENUM_OPERATION
} clEnumId;

#define CL_NENUMS	  (CL_ENUM_OPERATION + 1)
#define CL_MAX_LABELS 7

typedef enum clStatus
{
	CL_AUTHORIZED,
	CL_COMMITTED,
	CL_REVERTED
} clStatus;

typedef enum clTimeoutAction
{
	CL_TIMEOUT_COMMIT,
	CL_TIMEOUT_REVERT
} clTimeoutAction;

typedef enum clActor
{
	CL_CALLER,
	CL_TIMEOUT
} clActor;

typedef enum clEntryKind
{
	CL_ENTRY_GRANT,
	CL_ENTRY_COMMIT,
	CL_ENTRY_REFUND,
	CL_ENTRY_TRUE_UP,
	CL_ENTRY_ADJUSTMENT,
	CL_ENTRY_EXPIRY,
	CL_ENTRY_VOID
} clEntryKind;

typedef enum clOperation
{
	CL_OP_GRANT,
	CL_OP_ADJUST,
	CL_OP_AUTHORIZE,
	CL_OP_REFUND,
	CL_OP_VOID
} clOperation;

extern void cl_catalog_init(void);

/*
 * NULL if the extension's SQL in this database is of the library's version;
 * else what is wrong, and in hint what to do about it.
 */
extern const char *cl_catalog_other_version(Oid extension, const char **hint);

/* Each raises 55000 where the extension is not in this database, or in another version than the library's. */
extern Oid cl_table_oid(clTableId table);
extern Oid cl_type_oid(clTypeId type);
extern Oid cl_enum_type_oid(clEnumId type);
extern Datum cl_enum_datum(clEnumId type, int label);

/* The C enum's value of a stored label. */
extern int cl_enum_label(clEnumId type, Datum value);
extern const char *cl_enum_name(clEnumId type, int label);

#endif /* CL_CATALOG_H */
