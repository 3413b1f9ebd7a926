/*
 * local_ring.c: opens the ring file and asks whose it is.
 *
 * Data in: the settings, the ring file. Data out: a read-only mapping. Invariant: local_ring_open() never
 * hands out the changes of another database, for which privileges in this one mean nothing. It deliberately
 * keeps no mapping from one call to the next: the file may be replaced at any time, and a mapping costs
 * microseconds.
 */
#include "postgres.h"

#include <signal.h>

#include "access/xlog.h"
#include "commands/dbcommands.h"
#include "miscadmin.h"
#include "utils/palloc.h"

#include "core/ring_file.h"
#include "pg/local_ring.h"
#include "pg/settings.h"

static void close_ring(void *ring)
{
	ring_file_close(ring);
}

enum local_ring local_ring_map(struct ring **ret_ring, char **ret_reason)
{
	/* allocated first: between the mapping and the registration nothing may fail */
	MemoryContextCallback *callback = palloc0(sizeof(*callback));
	struct ring *ring;
	enum ring_file_error error = ring_file_open(settings_ring_path(), RING_ACCESS_READ, &ring);

	if (error == RING_FILE_SYSTEM && errno == ENOENT)
		return LOCAL_RING_MISSING;
	if (error != RING_FILE_OK) {
		*ret_reason = pstrdup(ring_file_error_text(error));
		return LOCAL_RING_BROKEN;
	}
	callback->func = close_ring;
	callback->arg = ring;
	MemoryContextRegisterResetCallback(CurrentMemoryContext, callback);
	*ret_ring = ring;
	return LOCAL_RING_OK;
}

/* The setting counts too: in the moment after it was changed the file is still that of the database before.
 */
static bool is_of_database(const struct ring *ring, const char *database)
{
	struct ring_identity identity = ring_identity(ring);

	return identity.system_identifier == GetSystemIdentifier() && strcmp(identity.database, database) == 0 &&
		   (setting_conninfo[0] != '\0' || strcmp(setting_database, database) == 0);
}

struct ring *local_ring_open(void)
{
	char *database = get_database_name(MyDatabaseId);
	struct ring *ring;
	char *reason;

	switch (local_ring_map(&ring, &reason)) {
	case LOCAL_RING_OK:
		return database != NULL && is_of_database(ring, database) ? ring : NULL;
	case LOCAL_RING_MISSING:
		return NULL;
	case LOCAL_RING_BROKEN:
		ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED),
						errmsg("could not read the ring file of pg_changefeed: %s", reason)));
	}
	return NULL;
}

bool local_ring_master_alive(const struct ring *ring)
{
	int32_t pid = atomic_load_explicit(&ring_live(ring)->master_pid, memory_order_relaxed);

	/* the ring of a standby came with its base backup, and so did the number, of a process somewhere else */
	return !RecoveryInProgress() && pid > 0 && (kill(pid, 0) == 0 || errno == EPERM);
}
