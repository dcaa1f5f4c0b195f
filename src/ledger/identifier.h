/*-------------------------------------------------------------------------
 *
 * identifier.h
 *	  Identifiers, which the tables keep as text COLLATE "C".
 *
 *-------------------------------------------------------------------------
 */
#ifndef CL_IDENTIFIER_H
#define CL_IDENTIFIER_H

#include "compat.h"

/* In bytes; none is empty. */
#define CL_MAX_IDENTIFIER 256

/* In the order of the C collation, that of the indexes: byte by byte. */
static inline int
cl_identifier_compare(const text *a, const text *b)
{
	int a_length = VARSIZE_ANY_EXHDR(a);
	int b_length = VARSIZE_ANY_EXHDR(b);
	int order = memcmp(VARDATA_ANY(a), VARDATA_ANY(b), Min(a_length, b_length));

	return order != 0 ? order : a_length - b_length;
}

/* Where both may be NULL, which equals NULL. */
static inline bool
cl_identifier_equal(const text *a, const text *b)
{
	if (a == NULL || b == NULL)
		return a == b;
	return cl_identifier_compare(a, b) == 0;
}

#endif /* CL_IDENTIFIER_H */
