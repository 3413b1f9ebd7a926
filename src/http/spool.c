/* spool.c: see spool.h. */
#include "http/spool.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <unistd.h>

/* A power of two that every page size divides. */
enum { ALIGNMENT = 64 * 1024 };

static size_t whole_pages(size_t size)
{
	return (size + ALIGNMENT - 1) & ~(size_t)(ALIGNMENT - 1);
}

void spool_init(struct spool *spool)
{
	struct rlimit files;
	/* positions only grow: with a limit for the size of files, one day writing would be a signal */
	bool endless = getrlimit(RLIMIT_FSIZE, &files) == 0 && files.rlim_cur == RLIM_INFINITY;

	*spool = (struct spool){.fd = endless ? memfd_create("changefeed-spool", MFD_CLOEXEC) : -1};
}

uint64_t spool_reserve(struct spool *spool, size_t size)
{
	uint64_t at = spool->end;
	spool->end += whole_pages(size);
	return at;
}

bool spool_write(const struct spool *spool, uint64_t at, struct bytes bytes)
{
	return pwrite(spool->fd, bytes.data, bytes.size, (off_t)at) == (ssize_t)bytes.size;
}

void spool_drop(const struct spool *spool, uint64_t at, size_t size)
{
	/* what could not be given back is only memory that is lost */
	(void)fallocate(spool->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)at,
					(off_t)whole_pages(size));
}

size_t spool_send(const struct spool *spool, uint64_t at, size_t size, int socket)
{
	off_t from = (off_t)at;
	ssize_t sent = sendfile(socket, spool->fd, &from, size);
	return sent < 0 ? 0 : (size_t)sent;
}
