/*
 * ring_fixture.h: a ring in a temporary file, filled with transactions whose bodies can be recomputed from
 * their ids.
 */
#ifndef CHANGEFEED_TEST_UNIT_RING_FIXTURE_H
#define CHANGEFEED_TEST_UNIT_RING_FIXTURE_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/ring/ring_file.h"
#include "core/ring/ring_layout.h"
#include "core/ring/ring_writer.h"

struct fixture {
	char directory[64];
	char path[96];
	struct ring *ring;
	struct ring_writer *writer;
	uint64_t lsn; /* the end of the last transaction written */
	char body[1 << 20];
};

static inline void fixture_open(struct fixture *fixture)
{
	if (ring_file_open(fixture->path, RING_ACCESS_WRITER, &fixture->ring) != RING_FILE_OK ||
		(fixture->writer = ring_writer_open(fixture->ring)) == NULL) {
		perror("ring_file_open");
		exit(1);
	}
	fixture->lsn = ring_writer_streamed_lsn(fixture->writer);
}

static inline void fixture_close(struct fixture *fixture)
{
	ring_writer_close(fixture->writer);
	ring_file_close(fixture->ring);
}

static inline void fixture_make(struct fixture *fixture, uint64_t capacity)
{
	struct ring_identity identity = {.system_identifier = 7, .timeline = 1, .slot = "changefeed"};
	memset(fixture, 0, sizeof(*fixture));
	strcpy(fixture->directory, "/tmp/ringtestXXXXXX");
	if (mkdtemp(fixture->directory) == NULL)
		exit(1);
	snprintf(fixture->path, sizeof(fixture->path), "%s/ring", fixture->directory);
	if (ring_file_create(fixture->path, capacity) != RING_FILE_OK) {
		perror("ring_file_create");
		exit(1);
	}
	fixture_open(fixture);
	ring_writer_begin_history(fixture->writer, &identity, 1000);
	ring_writer_collection(fixture->writer, BYTES("public"), BYTES("a"));
	ring_writer_collection(fixture->writer, BYTES("public"), BYTES("b"));
	fixture->lsn = 1000;
}

static inline void fixture_remove(struct fixture *fixture)
{
	fixture_close(fixture);
	unlink(fixture->path);
	rmdir(fixture->directory);
}

static inline int fixture_checkpoint(struct fixture *fixture)
{
	if (!ring_checkpoint_begin(fixture->writer))
		return 0;
	int error = ring_checkpoint_sync(fixture->writer);
	ring_checkpoint_end(fixture->writer, error);
	return error;
}

/* The body of a change is made of its id alone, so that every reader can tell whether it is whole. */
static inline size_t fixture_body_size(struct cursor id)
{
	return (size_t)((id.lsn * 31 + id.n * 17) % 400);
}

static inline char fixture_body_byte(struct cursor id, size_t i)
{
	return (char)(id.lsn * 7 + id.n * 3 + i);
}

static inline bool fixture_body_whole(struct cursor id, struct bytes body)
{
	if (body.size != fixture_body_size(id))
		return false;
	for (size_t i = 0; i < body.size; i++) {
		if (body.data[i] != fixture_body_byte(id, i))
			return false;
	}
	return true;
}

static inline void fixture_change(struct fixture *fixture, struct cursor id, uint32_t collection,
								  enum operation operation)
{
	struct change change = {.id = id,
							.commit_us = (int64_t)id.lsn * 10,
							.xid = 5,
							.collection = collection,
							.operation = operation};
	size_t size = fixture_body_size(id);
	for (size_t i = 0; i < size; i++)
		fixture->body[i] = fixture_body_byte(id, i);
	while (ring_writer_change(fixture->writer, &change, (struct bytes){fixture->body, size}) ==
		   RING_WRITE_BLOCKED)
		fixture_checkpoint(fixture);
}

static inline void fixture_commit(struct fixture *fixture, uint64_t commit_lsn, uint64_t end_lsn)
{
	while (ring_writer_commit(fixture->writer, commit_lsn, end_lsn, (int64_t)commit_lsn * 10, 5) ==
		   RING_WRITE_BLOCKED)
		fixture_checkpoint(fixture);
	fixture->lsn = end_lsn;
}

/* A transaction of `count` inserts into collection 0 and 1 in turn; its commit record is 40 bytes long.
 * Returns its commit_lsn. */
static inline uint64_t fixture_transaction(struct fixture *fixture, unsigned count)
{
	uint64_t commit_lsn = fixture->lsn + 60;
	for (unsigned n = 1; n <= count; n++)
		fixture_change(fixture, (struct cursor){commit_lsn, n, 0}, n % 2 == 1 ? 0 : 1, OPERATION_INSERT);
	fixture_commit(fixture, commit_lsn, commit_lsn + 40);
	return commit_lsn;
}

#endif
