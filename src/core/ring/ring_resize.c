/* ring_resize.c: see ring_resize.h. */
#include "core/ring/ring_resize.h"

#include <errno.h>

#include "core/ring/ring_layout.h"
#include "core/ring/ring_writer.h"

struct resize {
	struct ring *from;
	struct ring *to;
	struct ring_writer *writer;
};

/* False: errno says why. */
static bool checkpoint(struct ring_writer *writer)
{
	if (ring_checkpoint_begin(writer)) {
		errno = ring_checkpoint_sync(writer);
		ring_checkpoint_end(writer, errno);
	} else {
		errno = ring_writer_error(writer);
	}
	return errno == 0;
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
		ring_collection_set_evicted(&resize->to->collections[id],
									ring_collection_evicted(&resize->from->collections[id]));
	}
	return true;
}

/*
 * All records; where they are more than the new ring holds, it evicts the oldest, as one of its size would have
 * done all along. Recovery trusts what the checkpoint promises, and so far nobody may have looked at it: bytes
 * that are no record must not decide how far the copy goes on, nor what is written where.
 */
static enum ring_file_error copy_records(const struct resize *resize)
{
	struct ring *from = resize->from;
	uint64_t head = ring_head(from);
	struct ring_record_header header;

	for (uint64_t position = ring_tail(from); position < head; position += header.size) {
		if (!ring_record_is_whole(from, position, head - position, ring_collection_count(from), &header)) {
			ring_set_damaged(from);
			return RING_FILE_DAMAGED;
		}
		while (ring_writer_copy(resize->writer, from, position) == RING_WRITE_BLOCKED) {
			if (!checkpoint(resize->writer))
				return RING_FILE_SYSTEM;
		}
	}
	return RING_FILE_OK;
}

static enum ring_file_error copy_history(const struct resize *resize)
{
	const struct ring_checkpoint *old = &resize->from->checkpoint;

	ring_writer_begin_history(resize->writer, &old->identity, old->history_lsn);
	ring_writer_take_runs(resize->writer, resize->from);
	if (!copy_collections(resize))
		return RING_FILE_SMALL;
	enum ring_file_error error = copy_records(resize);
	if (error != RING_FILE_OK)
		return error;
	ring_writer_progress(resize->writer, old->streamed_lsn);
	return checkpoint(resize->writer) ? RING_FILE_OK : RING_FILE_SYSTEM;
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
	if (error == RING_FILE_OK && resize.from->checkpoint.history != 0)
		error = copy_history(&resize);
	int saved = errno;
	ring_writer_close(resize.writer);
	ring_file_close(resize.to);
	ring_file_close(resize.from);
	errno = saved;
	return error;
}

enum ring_file_error ring_resize(const char *path, uint64_t capacity)
{
	char temporary[PATH_MAX];
	if (!ring_file_beside(path, ".resized", temporary))
		return RING_FILE_SYSTEM;
	return ring_file_settle(temporary, path, fill(path, temporary, capacity));
}
