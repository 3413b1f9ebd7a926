/* spool.c: see spool.h. */
#include "http/spool.h"

#include <sys/mman.h>
#include <sys/sendfile.h>
#include <unistd.h>

int spool_open(void)
{
	return memfd_create("changefeed-spool", MFD_CLOEXEC);
}

bool spool_write(int spool, size_t at, struct bytes bytes)
{
	return pwrite(spool, bytes.data, bytes.size, (off_t)at) == (ssize_t)bytes.size;
}

size_t spool_send(int spool, size_t at, size_t size, int socket)
{
	off_t from = (off_t)at;
	ssize_t sent = sendfile(socket, spool, &from, size);
	return sent < 0 ? 0 : (size_t)sent;
}
