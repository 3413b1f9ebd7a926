/*
 * local_ring.h: the ring file of this server, opened read-only for one call of a SQL function.
 */
#ifndef CHANGEFEED_PG_LOCAL_RING_H
#define CHANGEFEED_PG_LOCAL_RING_H

#include "postgres.h"

#include "core/ring/ring.h"

enum local_ring {
	LOCAL_RING_OK,
	LOCAL_RING_MISSING, /* there is no file: the program never ran here */
	LOCAL_RING_BROKEN,  /* there is one, but it cannot be read */
};

/*
 * Maps the ring whatever it holds. The mapping belongs to the current memory context and ends when that is
 * reset, so also after an error. Reading it raises an ERROR when the file was cut meanwhile. *ret_ring is set
 * on LOCAL_RING_OK only, *ret_reason (palloc'd) on LOCAL_RING_BROKEN only.
 */
enum local_ring local_ring_map(struct ring **ret_ring, char **ret_reason);

/*
 * The same for functions that show changes: the ring has to hold the changes of the current database. Only
 * then does a privilege on one of its tables say anything about a collection of the ring. Returns NULL if the
 * ring is missing or is not this database's (yet); ERROR if it is broken.
 */
struct ring *local_ring_open(void);

/* Whether it still is: to be asked again where a new history may have begun meanwhile. */
bool local_ring_is_ours(const struct ring *ring);

/* False if the settings say that the changes of another database are retained. */
bool local_ring_is_wanted(void);

/* Raises the ERROR of a function that needs the ring of the current database. */
_Noreturn void local_ring_refuse(void);

/* Whether the program that fills and serves the ring is alive. Its figures outlive it in the file. */
bool local_ring_is_served(void);

#endif
