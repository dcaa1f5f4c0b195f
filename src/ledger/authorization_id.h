/*-------------------------------------------------------------------------
 *
 * authorization_id.h
 *	  Identifiers of authorizations: "auth-" and a ULID.
 *
 * The ULID (github.com/ulid/spec) has 128 bits, written as 26 characters of
 * Crockford's base32: 48 bits of milliseconds since 1970, so that identifiers
 * sort by time and the index grows at its right edge; 16 bits of the CRC-32C
 * of the organisation's id, so that a router can tell the shard from the
 * identifier alone; 64 bits of randomness.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CL_AUTHORIZATION_ID_H
#define CL_AUTHORIZATION_ID_H

#include "datatype/timestamp.h"

extern text *cl_authorization_id_make(TimestampTz created_at, const text *org_id);

/* 16 bits that say which shard an organisation belongs to, in the identifiers of its authorizations, too. */
extern uint32 cl_organisation_hash(const text *org_id);

/*
 * The millisecond an identifier was made in, and the hash of its organisation; false
 * for identifiers of other forms, which imported rows may have.
 */
extern bool cl_authorization_id_time(const text *authorization_id, TimestampTz *created_at);
extern bool cl_authorization_id_hash(const text *authorization_id, uint32 *hash);

#endif /* CL_AUTHORIZATION_ID_H */
