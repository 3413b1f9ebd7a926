/* ring_file.c: see ring_file.h; the sections of the file are described in ring_layout.h. */
#include "core/ring/ring_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <xxhash.h>

#include "core/ring/ring_names.h"
#include "core/ring/ring_recovery.h"

/* A small ring still counts its gaps exactly over many of its own lengths: 8 MB. What a huge one could log would
 * take too long to count: no more than 256 MB. */
enum { RUNS_MIN = 1 << 18, RUNS_MAX = 1 << 23 };

/* Room for the names of one table for each of these bytes of capacity. */
enum { COLLECTION_GRAIN = 16384, COLLECTIONS_MIN = 1024, COLLECTIONS_MAX = 65536 };

static uint64_t round_up(uint64_t size)
{
	return (size + RING_PAGE - 1) / RING_PAGE * RING_PAGE;
}

uint64_t ring_file_capacity(uint64_t wanted)
{
	return round_up(wanted < RING_MIN_CAPACITY ? RING_MIN_CAPACITY : wanted);
}

static struct ring_sections sections_of(uint64_t capacity)
{
	struct ring_sections s = {.capacity = capacity};
	uint64_t collections = capacity / COLLECTION_GRAIN;
	s.collection_capacity = collections < COLLECTIONS_MIN   ? COLLECTIONS_MIN
							: collections > COLLECTIONS_MAX ? COLLECTIONS_MAX
															: (uint32_t)collections;
	s.index_capacity = capacity / RING_INDEX_GRAIN + 2;
	uint64_t runs = capacity / 4 / sizeof(struct ring_run);
	s.run_capacity = runs < RUNS_MIN ? RUNS_MIN : runs > RUNS_MAX ? RUNS_MAX : runs;
	s.live_offset = 2 * RING_PAGE;
	s.collections_offset = s.live_offset + round_up(sizeof(struct ring_live));
	s.index_offset = s.collections_offset + round_up(s.collection_capacity * sizeof(struct ring_collection));
	s.runs_offset = s.index_offset + round_up(s.index_capacity * sizeof(struct ring_index_entry));
	s.data_offset = s.runs_offset + round_up(s.run_capacity * sizeof(struct ring_run));
	s.file_size = s.data_offset + capacity;
	return s;
}

const char *ring_file_error_text(enum ring_file_error error)
{
	switch (error) {
	case RING_FILE_OK:
		return "no error";
	case RING_FILE_SYSTEM:
		return strerror(errno);
	case RING_FILE_FORMAT:
		return "not a ring file of this version";
	case RING_FILE_DAMAGED:
		return "the ring file is damaged";
	case RING_FILE_SMALL:
		return "a smaller one has no room for the names of all its tables";
	}
	return "unknown error";
}

/* ---- checkpoints */

static uint64_t checkpoint_checksum(struct ring_checkpoint checkpoint)
{
	checkpoint.checksum = 0;
	return XXH3_64bits(&checkpoint, sizeof(checkpoint));
}

int ring_checkpoint_compare(int fd, const struct ring_checkpoint *checkpoint)
{
	struct ring_checkpoint found[2];

	for (int i = 0; i < 2; i++) {
		ssize_t size = pread(fd, &found[i], sizeof(found[i]), (off_t)i * RING_PAGE);
		if (size != (ssize_t)sizeof(found[i]))
			return size < 0 ? errno : ESTALE;
	}
	bool is_there = found[checkpoint->sequence % 2].checksum == checkpoint_checksum(*checkpoint);
	bool follows = found[(checkpoint->sequence + 1) % 2].sequence + 1 >= checkpoint->sequence;
	return is_there && follows ? 0 : ESTALE;
}

int ring_checkpoint_write(int fd, const struct ring_checkpoint *checkpoint)
{
	struct ring_checkpoint sealed = *checkpoint;
	sealed.checksum = checkpoint_checksum(sealed);
	off_t offset = (off_t)(sealed.sequence % 2) * RING_PAGE;
	ssize_t written = pwrite(fd, &sealed, sizeof(sealed), offset);
	if (written != (ssize_t)sizeof(sealed))
		return written < 0 ? errno : EIO;
	return fdatasync(fd) == 0 ? 0 : errno;
}

static bool checkpoint_valid(const struct ring_checkpoint *checkpoint)
{
	return checkpoint->magic == RING_MAGIC && checkpoint->format == RING_FORMAT &&
		   checkpoint->page_size == RING_PAGE && checkpoint->checksum == checkpoint_checksum(*checkpoint) &&
		   checkpoint->capacity >= RING_MIN_CAPACITY && checkpoint->capacity % RING_PAGE == 0 &&
		   checkpoint->tail <= checkpoint->head &&
		   checkpoint->head - checkpoint->tail <= checkpoint->capacity;
}

/* The newer of the two that are valid. */
static enum ring_file_error read_newest_checkpoint(int fd, struct ring_checkpoint *ret_checkpoint)
{
	bool found = false, ours = false;

	for (int i = 0; i < 2; i++) {
		struct ring_checkpoint checkpoint;
		ssize_t size = pread(fd, &checkpoint, sizeof(checkpoint), (off_t)i * RING_PAGE);
		if (size < 0)
			return RING_FILE_SYSTEM;
		if (size != (ssize_t)sizeof(checkpoint))
			continue;
		ours = ours || (checkpoint.magic == RING_MAGIC && checkpoint.format == RING_FORMAT);
		if (checkpoint_valid(&checkpoint) && (!found || checkpoint.sequence > ret_checkpoint->sequence)) {
			*ret_checkpoint = checkpoint;
			found = true;
		}
	}
	if (found)
		return RING_FILE_OK;
	return ours ? RING_FILE_DAMAGED : RING_FILE_FORMAT;
}

/* ---- making */

bool ring_file_beside(const char *path, const char *suffix, char ret_path[PATH_MAX])
{
	if (snprintf(ret_path, PATH_MAX, "%s%s", path, suffix) < PATH_MAX)
		return true;
	errno = ENAMETOOLONG;
	return false;
}

/* Makes the new name durable, too. False: errno says why. */
static bool rename_durably(const char *from, const char *to)
{
	char directory[PATH_MAX];
	snprintf(directory, sizeof(directory), "%s", to);
	char *slash = strrchr(directory, '/');
	if (slash == NULL)
		snprintf(directory, sizeof(directory), ".");
	else
		slash[slash == directory] = '\0';
	if (rename(from, to) != 0)
		return false;
	int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return false;
	bool synced = fsync(fd) == 0;
	close(fd);
	return synced;
}

enum ring_file_error ring_file_settle(const char *temporary, const char *path, enum ring_file_error error)
{
	if (error == RING_FILE_OK && !rename_durably(temporary, path))
		error = RING_FILE_SYSTEM;
	if (error != RING_FILE_OK) {
		int saved = errno;
		unlink(temporary);
		errno = saved;
	}
	return error;
}

static enum ring_file_error fill_new_file(int fd, const struct ring_sections *sections)
{
	struct ring_checkpoint checkpoint = {
		.magic = RING_MAGIC, .format = RING_FORMAT, .page_size = RING_PAGE, .capacity = sections->capacity};

	/* a hole in a mapped file is SIGBUS on a full disk: every block is allocated here and now */
	int error = posix_fallocate(fd, 0, (off_t)sections->file_size);
	for (checkpoint.sequence = 1; error == 0 && checkpoint.sequence <= 2; checkpoint.sequence++)
		error = ring_checkpoint_write(fd, &checkpoint);
	if (error == 0 && fsync(fd) != 0)
		error = errno;
	errno = error;
	return error == 0 ? RING_FILE_OK : RING_FILE_SYSTEM;
}

enum ring_file_error ring_file_create(const char *path, uint64_t capacity)
{
	char temporary[PATH_MAX];
	if (!ring_file_beside(path, ".new", temporary))
		return RING_FILE_SYSTEM;
	struct ring_sections sections = sections_of(ring_file_capacity(capacity));
	int fd = open(temporary, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		return RING_FILE_SYSTEM;
	enum ring_file_error error = fill_new_file(fd, &sections);
	close(fd);
	return ring_file_settle(temporary, path, error);
}

/* ---- opening */

static enum ring_file_error read_checkpoints(struct ring *ring)
{
	struct stat status;

	if (fstat(ring->fd, &status) != 0)
		return RING_FILE_SYSTEM;
	enum ring_file_error error = read_newest_checkpoint(ring->fd, &ring->checkpoint);
	if (error != RING_FILE_OK)
		return error;
	ring->device = status.st_dev;
	ring->inode = status.st_ino;
	ring->sections = sections_of(ring->checkpoint.capacity);
	return (uint64_t)status.st_size < ring->sections.file_size ? RING_FILE_DAMAGED : RING_FILE_OK;
}

_Static_assert(sizeof(size_t) == sizeof(uint64_t), "a ring is mapped as a whole, twice");

static void *map_section(const struct ring *ring, uint64_t from, uint64_t to, bool writable)
{
	int protection = writable ? PROT_READ | PROT_WRITE : PROT_READ;
	void *at = mmap(NULL, to - from, protection, MAP_SHARED, ring->fd, (off_t)from);
	return at == MAP_FAILED ? NULL : at;
}

/* The data area twice in a row, so that a record that wraps around is still one piece of memory. */
static char *map_data(const struct ring *ring, bool writable)
{
	int protection = writable ? PROT_READ | PROT_WRITE : PROT_READ;
	uint64_t capacity = ring->sections.capacity;
	char *base = mmap(NULL, 2 * capacity, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (base == MAP_FAILED)
		return NULL;
	for (int i = 0; i < 2; i++) {
		void *at = mmap(base + (uint64_t)i * capacity, capacity, protection, MAP_SHARED | MAP_FIXED, ring->fd,
						(off_t)ring->sections.data_offset);
		if (at == MAP_FAILED) {
			munmap(base, 2 * capacity);
			return NULL;
		}
	}
	return base;
}

static bool map_ring(struct ring *ring)
{
	const struct ring_sections *s = &ring->sections;
	bool write_all = ring->access == RING_ACCESS_WRITER;
	char *tables;

	ring->live = map_section(ring, s->live_offset, s->collections_offset, ring->access != RING_ACCESS_READ);
	tables = map_section(ring, s->collections_offset, s->data_offset, write_all);
	ring->collections = (struct ring_collection *)tables;
	ring->data = map_data(ring, write_all);
	if (tables != NULL) {
		ring->index = (struct ring_index_entry *)(tables + (s->index_offset - s->collections_offset));
		ring->runs = (struct ring_run *)(tables + (s->runs_offset - s->collections_offset));
	}
	return ring->live != NULL && tables != NULL && ring->data != NULL;
}

void ring_file_close(struct ring *ring)
{
	const struct ring_sections *s;
	if (ring == NULL)
		return;
	s = &ring->sections;
	if (ring->live != NULL)
		munmap(ring->live, s->collections_offset - s->live_offset);
	if (ring->collections != NULL)
		munmap(ring->collections, s->data_offset - s->collections_offset);
	if (ring->data != NULL)
		munmap(ring->data, 2 * s->capacity);
	if (ring->fd >= 0)
		close(ring->fd);
	if (ring->names != NULL)
		ring_names_free(ring->names);
	free(ring->names);
	free(ring);
}

enum ring_file_error ring_file_open(const char *path, enum ring_access access, struct ring **ret_ring)
{
	struct ring *ring = calloc(1, sizeof(*ring));
	enum ring_file_error error = RING_FILE_SYSTEM;

	if (ring == NULL)
		return RING_FILE_SYSTEM;
	ring->access = access;
	ring->names = calloc(1, sizeof(*ring->names));
	ring->fd =
		ring->names == NULL ? -1 : open(path, (access == RING_ACCESS_READ ? O_RDONLY : O_RDWR) | O_CLOEXEC);
	if (ring->fd >= 0 && (access != RING_ACCESS_WRITER || flock(ring->fd, LOCK_EX | LOCK_NB) == 0))
		error = read_checkpoints(ring);
	if (error == RING_FILE_OK && !map_ring(ring))
		error = RING_FILE_SYSTEM;
	if (error == RING_FILE_OK && access == RING_ACCESS_WRITER) {
		int failure = ring_recover(ring);
		if (failure != 0) {
			errno = failure;
			error = failure == EUCLEAN ? RING_FILE_DAMAGED : RING_FILE_SYSTEM;
		}
	}
	if (error != RING_FILE_OK) {
		int saved = errno;
		ring_file_close(ring);
		errno = saved;
		return error;
	}
	*ret_ring = ring;
	return RING_FILE_OK;
}

void ring_file_hide_stale(struct ring *ring)
{
	if (ring_is_of_this_boot(ring))
		return;
	live_store(&ring->live->history, 0);
	live_store(&ring->live->head, live_load(&ring->live->tail));
	live_figure_set(&ring->live->boot, 0);
}

struct ring_live *ring_file_live(struct ring *ring)
{
	return ring->access == RING_ACCESS_READ ? NULL : ring->live;
}

/* ---- what it is */

bool ring_file_is_foreign(const char *path)
{
	struct stat status;
	uint64_t magic;
	bool ours = false;
	int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);

	if (fd < 0)
		return false;
	if (fstat(fd, &status) == 0 && S_ISREG(status.st_mode))
		ours = status.st_size == 0;
	for (int i = 0; i < 2 && !ours; i++)
		ours = pread(fd, &magic, sizeof(magic), (off_t)i * RING_PAGE) == sizeof(magic) && magic == RING_MAGIC;
	close(fd);
	return !ours;
}

bool ring_file_is_claimed(const char *path)
{
	struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	char lock_path[PATH_MAX];

	if (!ring_file_beside(path, RING_LOCK_SUFFIX, lock_path))
		return false;
	int fd = open(lock_path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	bool claimed = fcntl(fd, F_GETLK, &whole) == 0 && whole.l_type != F_UNLCK;
	close(fd);
	return claimed;
}

bool ring_file_maps(const struct ring *ring, const void *address)
{
	const struct ring_sections *s = &ring->sections;
	uintptr_t at = (uintptr_t)address;

	/* what lies below a section wraps around to a large distance */
	return at - (uintptr_t)ring->live < s->collections_offset - s->live_offset ||
		   at - (uintptr_t)ring->collections < s->data_offset - s->collections_offset ||
		   at - (uintptr_t)ring->data < 2 * s->capacity;
}

bool ring_file_replaced(const struct ring *ring, const char *path)
{
	struct stat status;
	struct ring_checkpoint checkpoint;

	if (stat(path, &status) != 0 || status.st_dev != ring->device || status.st_ino != ring->inode ||
		(uint64_t)status.st_size < ring->sections.file_size)
		return true;
	return read_newest_checkpoint(ring->fd, &checkpoint) != RING_FILE_OK ||
		   checkpoint.capacity != ring->sections.capacity;
}
