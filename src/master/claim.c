/* claim.c: see claim.h. */
#include "master/claim.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "log.h"

enum { RETRY_MS = 50 };

static int open_lock_file(const char *ring_file)
{
	char path[PATH_MAX];

	if (snprintf(path, sizeof(path), "%s.lock", ring_file) >= (int)sizeof(path)) {
		errno = ENAMETOOLONG;
		return -1;
	}
	return open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
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
		log_line(LOG_LEVEL_ERROR, "cannot lock \"%s.lock\": the directory \"%s\" does not exist", ring_file,
				 dirname(path));
	else
		log_line(LOG_LEVEL_ERROR, "cannot lock \"%s.lock\": %s", ring_file, strerror(error));
}

bool claim_ring(const char *ring_file, unsigned patience_ms)
{
	int fd = open_lock_file(ring_file); /* open until the end: to close it gives the claim back */

	if (fd >= 0 && lock(fd, patience_ms))
		return true;
	say_why_not(fd, ring_file, errno);
	if (fd >= 0)
		close(fd);
	return false;
}
