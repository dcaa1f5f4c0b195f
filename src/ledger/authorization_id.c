/*-------------------------------------------------------------------------
 *
 * authorization_id.c
 *	  Identifiers of authorizations: "auth-" and a ULID.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/pg_prng.h"
#include "port/pg_crc32c.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "ledger/authorization_id.h"
#include "compat.h"

#define PREFIX		  "auth-"
#define PREFIX_LENGTH 5
#define ULID_LENGTH	  26
#define HIGH_LENGTH	  13 /* 65 bits, of which the first two are 0; the 64th is the first of the next digit */

#define MICROSECONDS_1970_TO_2000 \
	((int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY)

static const char base32[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

static bool id_digits(const text *authorization_id, uint64 *high);
static int base32_value(char digit);

PG_FUNCTION_INFO_V1(credit_organisation_hash);
PG_FUNCTION_INFO_V1(credit_authorization_hash);

/*
 * The server seeds its generator from strong randomness in each backend, and
 * 64 of its bits tell apart what one organisation authorises in one
 * millisecond; no secret rests on them.
 */
text *
cl_authorization_id_make(TimestampTz created_at, const text *org_id)
{
	uint64 milliseconds = (uint64) (created_at + MICROSECONDS_1970_TO_2000) / 1000;
	uint64 high;
	uint64 low = pg_prng_uint64(&pg_global_prng_state);
	text *id = palloc(VARHDRSZ + PREFIX_LENGTH + ULID_LENGTH);
	char *digits = VARDATA(id) + PREFIX_LENGTH;

	high = (milliseconds << 16) | cl_organisation_hash(org_id);

	SET_VARSIZE(id, VARHDRSZ + PREFIX_LENGTH + ULID_LENGTH);
	memcpy(VARDATA(id), PREFIX, PREFIX_LENGTH);
	for (int i = ULID_LENGTH - 1; i >= 0; i--)
	{
		digits[i] = base32[low & 31];
		low = (low >> 5) | (high << 59);
		high >>= 5;
	}
	return id;
}

uint32
cl_organisation_hash(const text *org_id)
{
	pg_crc32c crc;

	INIT_CRC32C(crc);
	COMP_CRC32C(crc, VARDATA_ANY(org_id), VARSIZE_ANY_EXHDR(org_id));
	FIN_CRC32C(crc);
	return crc & 0xFFFF;
}

bool
cl_authorization_id_time(const text *authorization_id, TimestampTz *created_at)
{
	uint64 high;

	if (!id_digits(authorization_id, &high))
		return false;
	*created_at = (TimestampTz) ((high >> 16) * 1000) - MICROSECONDS_1970_TO_2000;
	return true;
}

bool
cl_authorization_id_hash(const text *authorization_id, uint32 *hash)
{
	uint64 high;

	if (!id_digits(authorization_id, &high))
		return false;
	*hash = high & 0xFFFF;
	return true;
}

/* The first 64 bits, time and hash; false for another form. */
static bool
id_digits(const text *authorization_id, uint64 *high)
{
	const char *id = VARDATA_ANY(authorization_id);
	uint64 bits = 0;

	if (VARSIZE_ANY_EXHDR(authorization_id) != PREFIX_LENGTH + ULID_LENGTH ||
		memcmp(id, PREFIX, PREFIX_LENGTH) != 0)
		return false;
	for (int i = 0; i < ULID_LENGTH; i++)
	{
		int value = base32_value(id[PREFIX_LENGTH + i]);

		/* The digits have 130 bits, a ULID 128. */
		if (value < 0 || (i == 0 && value > 7))
			return false;
		if (i < HIGH_LENGTH)
			bits = (bits << 5) | value;
		else if (i == HIGH_LENGTH)
			bits = (bits << 1) | (value >> 4);
	}
	*high = bits;
	return true;
}

/* organisation_hash(org_id) */
Datum
credit_organisation_hash(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32((int32) cl_organisation_hash(PG_GETARG_TEXT_PP(0)));
}

/* authorization_hash(authorization_id): that of its organisation; NULL for identifiers of other forms. */
Datum
credit_authorization_hash(PG_FUNCTION_ARGS)
{
	uint32 hash;

	if (!cl_authorization_id_hash(PG_GETARG_TEXT_PP(0), &hash))
		PG_RETURN_NULL();
	PG_RETURN_INT32((int32) hash);
}

static int
base32_value(char digit)
{
	const char *found = digit == '\0' ? NULL : strchr(base32, digit);

	return found == NULL ? -1 : (int) (found - base32);
}
