/*
 * local_ring.c: opens the ring file and asks whose it is.
 *
 * Data in: the settings, the ring file. Data out: a read-only mapping. Invariant: local_ring_open() never
 * hands out the changes of another database, for which privileges in this one mean nothing. It deliberately
 * keeps no mapping from one call to the next: the file may be replaced at any time, and a mapping costs
 * microseconds.
 *
 * A file that somebody cuts while it is mapped is a SIGBUS for a process that reads what is gone, and a
 * backend that dies of it would make the postmaster restart all of them. Here it is an ERROR, raised by the
 * handler as PostgreSQL raises that of SIGFPE: the signal comes from an instruction that reads the mapping,
 * so neither an allocator nor the server is in the middle of anything. (To copy the ring by read() instead
 * would cost every call its size, and the order of its loads.)
 */
#include "postgres.h"

#include <signal.h>

#include "access/xlog.h"
#include "commands/dbcommands.h"
#include "miscadmin.h"
#include "utils/palloc.h"

#include "core/ring/ring_file.h"
#include "pg/database_text.h"
#include "pg/local_ring.h"
#include "pg/settings.h"

/* The rings that are mapped now: of a call, and of calls that its query makes. */
struct mapped_ring {
	struct ring *ring;
	struct mapped_ring *next;
	MemoryContextCallback release;
};

static struct mapped_ring *mapped_rings = NULL;
static struct sigaction other_sigbus; /* what is done with one that is not of a ring */
static bool guarded = false;

static void close_ring(void *argument)
{
	struct mapped_ring *mapped = argument, **link = &mapped_rings;

	while (*link != mapped)
		link = &(*link)->next;
	*link = mapped->next;
	ring_file_close(mapped->ring);
}

static void on_sigbus(int signal, siginfo_t *info, void *context)
{
	for (struct mapped_ring *mapped = mapped_rings; mapped != NULL; mapped = mapped->next) {
		if (info->si_code > 0 && ring_file_maps(mapped->ring, info->si_addr))
			ereport(ERROR,
					(errcode(ERRCODE_DATA_CORRUPTED), errmsg("could not read the ring file of pg_changefeed"),
					 errdetail("It was cut meanwhile, or its disk fails.")));
	}
	/* it comes again, and does what it would have done without us: an instruction is repeated by itself */
	sigaction(signal, &other_sigbus, NULL);
	guarded = false;
	if (info->si_code <= 0)
		raise(signal);
}

/* An ERROR leaves the handler for good: the signal must not stay blocked. */
static void guard(void)
{
	struct sigaction action = {.sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO | SA_NODEFER};

	if (!guarded)
		guarded = sigaction(SIGBUS, &action, &other_sigbus) == 0;
}

enum local_ring local_ring_map(struct ring **ret_ring, char **ret_reason)
{
	/* allocated first: between the mapping and the registration nothing may fail */
	struct mapped_ring *mapped = palloc0(sizeof(*mapped));
	enum ring_file_error error = ring_file_open(settings_ring_path(), RING_ACCESS_READ, &mapped->ring);

	if (error == RING_FILE_SYSTEM && errno == ENOENT)
		return LOCAL_RING_MISSING;
	if (error != RING_FILE_OK) {
		*ret_reason = pstrdup(ring_file_error_text(error));
		return LOCAL_RING_BROKEN;
	}
	mapped->next = mapped_rings;
	mapped_rings = mapped;
	mapped->release.func = close_ring;
	mapped->release.arg = mapped;
	MemoryContextRegisterResetCallback(CurrentMemoryContext, &mapped->release);
	guard();
	*ret_ring = mapped->ring;
	return LOCAL_RING_OK;
}

/* With a connection string of its own, the feed may be of any database. */
bool local_ring_is_wanted(void)
{
	char *database = get_database_name(MyDatabaseId);

	return database != NULL && (setting_conninfo[0] != '\0' || strcmp(setting_database, database) == 0);
}

void local_ring_refuse(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("changes of this database are not retained"),
			 local_ring_is_wanted()
				 ? errhint("changefeed.status() says what the feed does.")
				 : errhint("changefeed.database says which database is fed: \"%s\".", setting_database)));
}

/* A number of a process would not do: it may be another one's by now, or have come with a base backup. */
bool local_ring_is_served(void)
{
	return ring_file_is_claimed(settings_ring_path());
}

/*
 * A standby has the ring of its base backup, which never goes on, as though nothing happened any more; unless a
 * program beside it feeds another.
 */
static bool goes_on(void)
{
	return !RecoveryInProgress() || local_ring_is_served();
}

/*
 * The setting counts too: in the moment after it was changed the file is still that of the database before. And
 * without a history, or before a ring from before a start of the machine is recovered, nobody can say what has
 * changed.
 */
bool local_ring_is_ours(const struct ring *ring)
{
	struct ring_identity identity = ring_identity(ring);

	return ring_is_of_this_boot(ring) && live_load(&ring_live(ring)->history) != 0 && goes_on() &&
		   identity.system_identifier == GetSystemIdentifier() && local_ring_is_wanted() &&
		   strncmp(identity.database, database_text_to_utf8(get_database_name(MyDatabaseId)),
				   sizeof(identity.database) - 1) == 0;
}

struct ring *local_ring_open(void)
{
	struct ring *ring;
	char *reason;

	switch (local_ring_map(&ring, &reason)) {
	case LOCAL_RING_OK:
		return local_ring_is_ours(ring) ? ring : NULL;
	case LOCAL_RING_MISSING:
		return NULL;
	case LOCAL_RING_BROKEN:
		ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED),
						errmsg("could not read the ring file of pg_changefeed: %s", reason)));
	}
	return NULL;
}
