/*-------------------------------------------------------------------------
 *
 * shared.c
 *	  What all processes of the server share, if the library is preloaded.
 *
 * Counters and recent failures outlive a clean shutdown in a file of the
 * directory where the server keeps its own statistics, as those of
 * pg_stat_statements do.  A crash forgets what was not drained yet.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <unistd.h>

#include "miscadmin.h"
#include "pgstat.h"
#include "storage/fd.h"
#include "storage/ipc.h"
#include "storage/shmem.h"

#include "server/shared.h"

#define TRANCHE	  "credit_ledger"
#define MAX_PARTS 4
#define SAVE_FILE PGSTAT_STAT_PERMANENT_DIRECTORY "/credit_ledger.stat"

/* Changes whenever what is saved does. */
static const uint32 save_magic = 0x20261125;

static shmem_request_hook_type previous_request_hook;
static shmem_startup_hook_type previous_startup_hook;
static LWLockPadded *locks;
static const clSharedPart *parts[MAX_PARTS];
static int part_count;

static void shared_request(void);
static void shared_startup(void);
static void shared_load(void);
static void shared_save(int code, Datum arg);

void
cl_shared_init(void)
{
	previous_request_hook = shmem_request_hook;
	shmem_request_hook = shared_request;
	previous_startup_hook = shmem_startup_hook;
	shmem_startup_hook = shared_startup;
}

void
cl_shared_register(clSharedPart *part)
{
	Assert(part_count < MAX_PARTS);
	part->number = part_count;
	parts[part_count++] = part;
}

bool
cl_shared_is_there(void)
{
	return locks != NULL;
}

LWLock *
cl_shared_lock(const clSharedPart *part)
{
	return &locks[part->number].lock;
}

static void
shared_request(void)
{
	if (previous_request_hook != NULL)
		previous_request_hook();
	for (int i = 0; i < part_count; i++)
		RequestAddinShmemSpace(parts[i]->size());
	RequestNamedLWLockTranche(TRANCHE, part_count);
}

static void
shared_startup(void)
{
	if (previous_startup_hook != NULL)
		previous_startup_hook();

	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	locks = GetNamedLWLockTranche(TRANCHE);
	for (int i = 0; i < part_count; i++)
		parts[i]->attach();
	LWLockRelease(AddinShmemInitLock);

	if (!IsUnderPostmaster)
	{
		on_shmem_exit(shared_save, (Datum) 0);
		shared_load();
	}
}

/* Nobody else is there yet, so no lock is needed; nor when saving. */
static void
shared_load(void)
{
	FILE *file = AllocateFile(SAVE_FILE, PG_BINARY_R);
	uint32 magic;
	bool loaded;

	if (file == NULL)
	{
		if (errno != ENOENT)
			ereport(LOG,
					(errcode_for_file_access(),
					 errmsg("could not read file \"%s\": %m", SAVE_FILE)));
		return;
	}
	loaded = fread(&magic, sizeof(magic), 1, file) == 1 && magic == save_magic;
	for (int i = 0; i < part_count; i++)
	{
		if (parts[i]->load != NULL)
			loaded = loaded && parts[i]->load(file);
	}
	if (!loaded)
		ereport(LOG,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("ignoring invalid data in file \"%s\"", SAVE_FILE)));
	FreeFile(file);
	unlink(SAVE_FILE);
}

static void
shared_save(int code, Datum arg)
{
	FILE *file;
	bool saved;

	if (code != 0 || locks == NULL)
		return;

	file = AllocateFile(SAVE_FILE ".tmp", PG_BINARY_W);
	saved = file != NULL &&
		fwrite(&save_magic, sizeof(save_magic), 1, file) == 1;
	for (int i = 0; i < part_count; i++)
	{
		if (parts[i]->save != NULL)
			saved = saved && parts[i]->save(file);
	}
	if (file != NULL)
		saved &= FreeFile(file) == 0;
	if (saved)
		(void) durable_rename(SAVE_FILE ".tmp", SAVE_FILE, LOG);
	else
		ereport(LOG,
				(errcode_for_file_access(),
				 errmsg("could not write file \"%s\": %m", SAVE_FILE ".tmp")));
}
