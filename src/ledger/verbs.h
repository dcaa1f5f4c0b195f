/*-------------------------------------------------------------------------
 *
 * verbs.h
 *	  The SQL functions that write the ledger, as C functions.
 *
 * Each reads its arguments, does the thing and fills in a tally.  The SQL
 * functions themselves are in server/calls.c, which counts them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CL_VERBS_H
#define CL_VERBS_H

#include "fmgr.h"

#include "ledger/tally.h"

typedef Datum (*clVerbFunction)(FunctionCallInfo fcinfo, clTally *tally);

/* movement.c */
extern Datum cl_grant(FunctionCallInfo fcinfo, clTally *tally);
extern Datum cl_adjust(FunctionCallInfo fcinfo, clTally *tally);
extern Datum cl_refund(FunctionCallInfo fcinfo, clTally *tally);
extern Datum cl_void(FunctionCallInfo fcinfo, clTally *tally);

/* lot_functions.c */
extern Datum cl_lot_configure(FunctionCallInfo fcinfo, clTally *tally);

/* hold_functions.c */
extern Datum cl_authorize(FunctionCallInfo fcinfo, clTally *tally);
extern Datum cl_authorize_many(FunctionCallInfo fcinfo, clTally *tally);
extern Datum cl_charge(FunctionCallInfo fcinfo, clTally *tally);
extern Datum cl_charge_used(FunctionCallInfo fcinfo, clTally *tally);
extern Datum cl_charge_many(FunctionCallInfo fcinfo, clTally *tally);

/* hold.c */
extern Datum cl_extend(FunctionCallInfo fcinfo, clTally *tally);

/* settlement_functions.c */
extern Datum cl_correct(FunctionCallInfo fcinfo, clTally *tally);
extern Datum cl_commit(FunctionCallInfo fcinfo, clTally *tally);
extern Datum cl_commit_many(FunctionCallInfo fcinfo, clTally *tally);
extern Datum cl_revert(FunctionCallInfo fcinfo, clTally *tally);
extern Datum cl_revert_many(FunctionCallInfo fcinfo, clTally *tally);

/* account_functions.c */
extern Datum cl_account_configure(FunctionCallInfo fcinfo, clTally *tally);

/* sweep.c */
extern Datum cl_sweep_function(FunctionCallInfo fcinfo, clTally *tally);

#endif /* CL_VERBS_H */
