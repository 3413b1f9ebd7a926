/* ring_keeper.c: see ring_keeper.h. */
#include "master/ring_keeper.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "core/ring/ring_file.h"
#include "core/ring/ring_resize.h"
#include "log.h"

enum { RETRY_MS = 50 };

static int open_lock_file(const char *ring_file)
{
	char path[PATH_MAX];

	if (!ring_file_beside(ring_file, RING_LOCK_SUFFIX, path))
		return -1;
	return open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
}

/* Beside what has been used as a ring there is its lock file. */
static bool was_claimed(const char *ring_file)
{
	char path[PATH_MAX];
	return ring_file_beside(ring_file, RING_LOCK_SUFFIX, path) && access(path, F_OK) == 0;
}

static bool lock(int fd, unsigned patience_ms)
{
	static const struct timespec pause = {.tv_nsec = RETRY_MS * 1000000};

	for (;;) {
		struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
		if (fcntl(fd, F_SETLK, &whole) == 0)
			return true;
		if ((errno != EACCES && errno != EAGAIN) || patience_ms < RETRY_MS)
			return false;
		nanosleep(&pause, NULL);
		patience_ms -= RETRY_MS;
	}
}

static void say_why_not(int fd, const char *ring_file, int error)
{
	struct flock other = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s", ring_file);
	if ((error == EACCES || error == EAGAIN) && fcntl(fd, F_GETLK, &other) == 0 && other.l_type != F_UNLCK)
		log_line(LOG_LEVEL_ERROR,
				 "the ring \"%s\" is used by another pg_changefeed, with PID %d: each needs a ring file of "
				 "its own",
				 ring_file, (int)other.l_pid);
	else if (error == ENOENT)
		log_line(LOG_LEVEL_ERROR,
				 "cannot lock \"%s" RING_LOCK_SUFFIX "\": the directory \"%s\" does not exist", ring_file,
				 dirname(path));
	else
		log_line(LOG_LEVEL_ERROR, "cannot lock \"%s" RING_LOCK_SUFFIX "\": %s", ring_file, strerror(error));
}

bool ring_keeper_claim(const char *path, unsigned patience_ms)
{
	if (ring_file_is_foreign(path) && !was_claimed(path)) {
		log_line(LOG_LEVEL_ERROR, "\"%s\" is no ring and is left alone: name another file, or remove it",
				 path);
		return false;
	}
	int fd = open_lock_file(path); /* open until the end: to close it gives the claim back */

	if (fd >= 0 && lock(fd, patience_ms))
		return true;
	say_why_not(fd, path, errno);
	if (fd >= 0)
		close(fd);
	return false;
}

/* Gives the ring the wanted size, with what it retains. One that is found to be damaged says so itself. */
static void resize(const char *path, uint64_t size)
{
	enum ring_file_error error = ring_resize(path, size);

	if (error == RING_FILE_OK)
		log_line(LOG_LEVEL_INFO, "the ring \"%s\" has its new size; it retains what fits", path);
	else if (error != RING_FILE_DAMAGED)
		log_line(LOG_LEVEL_WARNING, "the ring \"%s\" stays as large as it is: %s", path,
				 ring_file_error_text(error));
}

static enum ring_file_error open_sound(const char *path, struct ring **ret_ring)
{
	enum ring_file_error error = ring_file_open(path, RING_ACCESS_WORKER, ret_ring);

	if (error != RING_FILE_OK || !ring_is_damaged(*ret_ring))
		return error;
	ring_file_close(*ret_ring);
	return RING_FILE_DAMAGED;
}

struct ring *ring_keeper_open(const char *path, uint64_t size)
{
	struct ring *ring;
	enum ring_file_error error = open_sound(path, &ring);

	if (error == RING_FILE_OK && ring_capacity(ring) != ring_file_capacity(size)) {
		ring_file_close(ring);
		resize(path, size);
		error = open_sound(path, &ring);
	}
	if (error != RING_FILE_OK && (error != RING_FILE_SYSTEM || errno == ENOENT)) {
		if (error != RING_FILE_SYSTEM)
			log_line(LOG_LEVEL_WARNING, "the ring \"%s\" is made anew: %s", path,
					 ring_file_error_text(error));
		error = ring_file_create(path, size);
		if (error == RING_FILE_OK)
			error = open_sound(path, &ring);
	}
	if (error == RING_FILE_OK) {
		ring_file_hide_stale(ring);
		return ring;
	}
	log_line(LOG_LEVEL_ERROR, "cannot use the ring \"%s\": %s", path, ring_file_error_text(error));
	return NULL;
}

void ring_keeper_share(const char *path)
{
	char lock_path[PATH_MAX];
	mode_t mask = umask(S_IRWXG | S_IRWXO);

	umask(mask);
	if ((mask & S_IRGRP) != 0 || !ring_file_beside(path, RING_LOCK_SUFFIX, lock_path))
		return;
	chmod(path, S_IRUSR | S_IWUSR | S_IRGRP);
	chmod(lock_path, S_IRUSR | S_IWUSR | S_IRGRP);
}

bool ring_keeper_is_sound(const struct ring *ring, const char *path)
{
	if (ring_file_replaced(ring, path))
		log_line(LOG_LEVEL_WARNING, "the ring \"%s\" was removed, replaced or cut: starting over", path);
	else if (ring_is_damaged(ring))
		log_line(LOG_LEVEL_WARNING, "the ring \"%s\" holds bytes that are not of this history: starting over",
				 path);
	else
		return true;
	return false;
}
