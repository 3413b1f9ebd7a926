/* ring_resize.c: see ring_resize.h. */
#include "core/ring_resize.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "core/ring_layout.h"
#include "core/ring_writer.h"

struct resize {
	struct ring *from;
	struct ring *to;
	struct ring_writer *writer;
};

static int checkpoint(struct ring_writer *writer)
{
	if (!ring_checkpoint_begin(writer))
		return ring_writer_error(writer);
	int error = ring_checkpoint_sync(writer);
	ring_checkpoint_end(writer, error);
	return error;
}

/* Collections keep their numbers, because they are entered in the same order. Returns false if the new table
 * is too small. */
static bool copy_collections(const struct resize *resize)
{
	struct collection collection;
	for (uint32_t id = 0; ring_collection(resize->from, id, &collection); id++) {
		if (ring_writer_collection(resize->writer, bytes_of(collection.schema), bytes_of(collection.name)) !=
			id)
			return false;
		ring_writer_set_published(resize->writer, id, collection.published);
	}
	return true;
}

/* The changes after a record that fit in are all that a ring of this size would have kept anyway. Returns 0
 * or an errno. */
static int copy_records(const struct resize *resize)
{
	uint64_t head = ring_head(resize->from);

	for (uint64_t position = ring_tail(resize->from); position < head;) {
		uint32_t size;
		while (ring_writer_copy(resize->writer, resize->from, position, &size) == RING_WRITE_BLOCKED) {
			int error = checkpoint(resize->writer);
			if (error != 0)
				return error;
		}
		position += size;
	}
	return 0;
}

static int copy_history(const struct resize *resize)
{
	const struct ring_checkpoint *old = &resize->from->checkpoint;

	ring_writer_begin_history(resize->writer, &old->identity, old->history_lsn);
	ring_writer_take_runs(resize->writer, resize->from);
	if (!copy_collections(resize))
		return ENOSPC;
	int error = copy_records(resize);
	if (error != 0)
		return error;
	ring_writer_progress(resize->writer, old->streamed_lsn);
	return checkpoint(resize->writer);
}

static enum ring_file_error fill(const char *path, const char *temporary, uint64_t capacity)
{
	struct resize resize = {0};
	enum ring_file_error error = ring_file_open(path, RING_ACCESS_WRITER, &resize.from);

	if (error == RING_FILE_OK)
		error = ring_file_create(temporary, capacity);
	if (error == RING_FILE_OK)
		error = ring_file_open(temporary, RING_ACCESS_WRITER, &resize.to);
	if (error == RING_FILE_OK && (resize.writer = ring_writer_open(resize.to)) == NULL)
		error = RING_FILE_SYSTEM;
	if (error == RING_FILE_OK && (resize.from->checkpoint.history != 0) &&
		(errno = copy_history(&resize)) != 0)
		error = RING_FILE_SYSTEM;
	int saved = errno;
	ring_writer_close(resize.writer);
	ring_file_close(resize.to);
	ring_file_close(resize.from);
	errno = saved;
	return error;
}

enum ring_file_error ring_resize(const char *path, uint64_t capacity)
{
	char temporary[4096];
	if (snprintf(temporary, sizeof(temporary), "%s.resized", path) >= (int)sizeof(temporary)) {
		errno = ENAMETOOLONG;
		return RING_FILE_SYSTEM;
	}
	enum ring_file_error error = fill(path, temporary, capacity);
	if (error == RING_FILE_OK && !ring_file_rename(temporary, path))
		error = RING_FILE_SYSTEM;
	if (error != RING_FILE_OK) {
		int saved = errno;
		unlink(temporary);
		errno = saved;
	}
	return error;
}
