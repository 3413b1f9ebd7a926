/*
 * ring_file.h: the ring's file: making it, mapping it, recovering it. Of the core only this, ring_recovery,
 * ring_resize and ring_writer do I/O.
 */
#ifndef CHANGEFEED_CORE_RING_RING_FILE_H
#define CHANGEFEED_CORE_RING_RING_FILE_H

#include <limits.h>

#include "core/ring/ring.h"

enum { RING_MIN_CAPACITY = 1 << 20 };

enum ring_file_error {
	RING_FILE_OK,
	RING_FILE_SYSTEM,  /* errno says what */
	RING_FILE_FORMAT,  /* not a ring, or of another version */
	RING_FILE_DAMAGED, /* neither checkpoint is valid, or the file is shorter than they say */
	RING_FILE_SMALL,   /* of ring_resize(): that size has no room for the names of its collections */
};

/* What the error means, in one line for people, with errno's text. Valid until the thread's next call. */
const char *ring_file_error_text(enum ring_file_error error);

/*
 * Makes an empty ring of at least `capacity` bytes of data (rounded up to pages) under a temporary name, all
 * of it allocated on disk, and renames it to `path`. An existing file is replaced; processes that map it keep
 * the old one.
 */
enum ring_file_error ring_file_create(const char *path, uint64_t capacity);

/* Whether there is something at `path` that never was a ring, of any version: more than an empty file. */
bool ring_file_is_foreign(const char *path);

enum ring_access {
	RING_ACCESS_READ,   /* a backend: everything read only */
	RING_ACCESS_WORKER, /* live area writable, data read only */
	RING_ACCESS_WRITER, /* the feed: everything writable; the file is locked (flock) against another one */
};

/*
 * Maps the ring. On success *ret_ring is the caller's, to be freed with ring_file_close(). RING_ACCESS_WRITER
 * fails with RING_FILE_SYSTEM and EWOULDBLOCK while another process writes it; it recovers the ring before it
 * returns.
 */
enum ring_file_error ring_file_open(const char *path, enum ring_access access, struct ring **ret_ring);
void ring_file_close(struct ring *ring);

/*
 * For the master, before there are readers: after a crash of the machine the live area speaks of records that
 * may never have reached the disk. Then there is no history to be seen, no record to be read and no damage to
 * be found until a writer has recovered the ring.
 */
void ring_file_hide_stale(struct ring *ring);

/* The name of a file beside the ring's: `path` with a suffix. Returns false if it is too long: errno says so. */
bool ring_file_beside(const char *path, const char *suffix, char ret_path[PATH_MAX]);

/*
 * Ends the making of a ring under a temporary name, which went as `error` says. If that is RING_FILE_OK the ring
 * takes the place of the one at `path`, durably. Otherwise, or if that fails, the temporary file is removed, and
 * errno still says why. Returns what became of it.
 */
enum ring_file_error ring_file_settle(const char *temporary, const char *path, enum ring_file_error error);

/* The capacity that ring_file_create() makes of a wish: at least RING_MIN_CAPACITY, whole pages. */
uint64_t ring_file_capacity(uint64_t wanted);

/* The live area for writing; NULL with RING_ACCESS_READ. */
struct ring_live *ring_file_live(struct ring *ring);

/*
 * True if `path` now names another file than the one mapped (it was re-made or removed), or if the file was
 * cut or overwritten by what is no ring of this size: then its mapping must not be touched any more.
 */
bool ring_file_replaced(const struct ring *ring, const char *path);

/* A program that uses the ring holds a lock (fcntl) of the file with this behind the ring's name. */
#define RING_LOCK_SUFFIX ".lock"

/* Whether one does. Not for the process that holds the lock: it would lose it. */
bool ring_file_is_claimed(const char *path);

/* True if the address lies in what is mapped of the file. For a handler of signals, too. */
bool ring_file_maps(const struct ring *ring, const void *address);

#endif
