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
#include "utils/timestamp.h"

#include "ledger/authorization_id.h"
#include "compat.h"

#define PREFIX		  "auth-"
#define PREFIX_LENGTH 5
#define ULID_LENGTH	  26
#define TIME_LENGTH	  10 /* 50 bits, of which the first two are 0 */

#define MICROSECONDS_1970_TO_2000 \
	((int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY)

static const char base32[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

static int base32_value(char digit);

/*
 * The server seeds its generator from strong randomness in each backend, and
 * 64 of its bits tell apart what one organisation authorises in one
 * millisecond; no secret rests on them.
 */
text *
cl_authorization_id_make(TimestampTz created_at, const text *org_id)
{
	uint64 milliseconds = (uint64) (created_at + MICROSECONDS_1970_TO_2000) / 1000;
	pg_crc32c crc;
	uint64 high;
	uint64 low = pg_prng_uint64(&pg_global_prng_state);
	text *id = palloc(VARHDRSZ + PREFIX_LENGTH + ULID_LENGTH);
	char *digits = VARDATA(id) + PREFIX_LENGTH;

	INIT_CRC32C(crc);
	COMP_CRC32C(crc, VARDATA_ANY(org_id), VARSIZE_ANY_EXHDR(org_id));
	FIN_CRC32C(crc);
	high = (milliseconds << 16) | (crc & 0xFFFF);

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

bool
cl_authorization_id_time(const text *authorization_id, TimestampTz *created_at)
{
	const char *id = VARDATA_ANY(authorization_id);
	uint64 milliseconds = 0;

	if (VARSIZE_ANY_EXHDR(authorization_id) != PREFIX_LENGTH + ULID_LENGTH ||
		memcmp(id, PREFIX, PREFIX_LENGTH) != 0)
		return false;
	for (int i = 0; i < ULID_LENGTH; i++)
	{
		int value = base32_value(id[PREFIX_LENGTH + i]);

		if (value < 0)
			return false;
		if (i < TIME_LENGTH)
			milliseconds = (milliseconds << 5) | value;
	}
	if (milliseconds >> 48 != 0)
		return false;
	*created_at = (TimestampTz) (milliseconds * 1000) - MICROSECONDS_1970_TO_2000;
	return true;
}

static int
base32_value(char digit)
{
	const char *found = digit == '\0' ? NULL : strchr(base32, digit);

	return found == NULL ? -1 : (int) (found - base32);
}
