/*
 * disk: a disk that refuses, for LD_PRELOAD. Faults come and go while the programs run: the file named by
 * CHANGEFEED_DISK_FAULTS holds one line for each, "CALL ERRNO PART", and none when the disk is well:
 *
 *   fallocate 28 /ring.new     posix_fallocate() of files whose path contains "/ring.new": no space left
 *   sync 5 /pg_changefeed/     fdatasync(): input/output error
 *   write 28 /pg_wal/          write() and pwrite()
 *   log 28 -                   write() to standard error
 *
 * What is not named goes to the C library.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

int posix_fallocate64(int fd, off64_t offset, off64_t size);

/* Reads with system calls of its own, for it stands under the program's. Returns an errno; 0: no such fault. */
static int fault(const char *call, int fd)
{
	char text[512], link[64], path[4096];
	const char *name = getenv("CHANGEFEED_DISK_FAULTS");
	int file = name == NULL ? -1 : open(name, O_RDONLY | O_CLOEXEC);
	if (file < 0)
		return 0;
	ssize_t size = read(file, text, sizeof(text) - 1);
	close(file);
	text[size < 0 ? 0 : size] = 0;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	size = readlink(link, path, sizeof(path) - 1);
	path[size < 0 ? 0 : size] = 0;
	for (char *line = text, *end; (end = strchr(line, '\n')) != NULL; line = end + 1) {
		char wanted[16], part[256];
		int error;
		*end = 0;
		if (sscanf(line, "%15s %d %255s", wanted, &error, part) == 3 && strcmp(wanted, call) == 0 &&
			(strcmp(part, "-") == 0 || strstr(path, part) != NULL))
			return error;
	}
	return 0;
}

static int refuse(int error)
{
	errno = error;
	return -1;
}

int fdatasync(int fd)
{
	int error = fault("sync", fd);
	return error != 0 ? refuse(error) : (int)syscall(SYS_fdatasync, fd);
}

static int allocate(int fd, off64_t offset, off64_t size)
{
	int error = fault("fallocate", fd);
	if (error != 0)
		return error;
	return syscall(SYS_fallocate, fd, 0, offset, size) == 0 ? 0 : errno;
}

int posix_fallocate(int fd, off_t offset, off_t size)
{
	return allocate(fd, offset, size);
}

int posix_fallocate64(int fd, off64_t offset, off64_t size)
{
	return allocate(fd, offset, size);
}

ssize_t write(int fd, const void *data, size_t size)
{
	int error = fd == STDERR_FILENO ? fault("log", fd) : fault("write", fd);
	return error != 0 ? refuse(error) : syscall(SYS_write, fd, data, size);
}

static ssize_t write_at(int fd, const void *data, size_t size, off64_t offset)
{
	int error = fault("write", fd);
	return error != 0 ? refuse(error) : syscall(SYS_pwrite64, fd, data, size, offset);
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t offset)
{
	return write_at(fd, data, size, offset);
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t offset)
{
	return write_at(fd, data, size, offset);
}
