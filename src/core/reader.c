/* reader.c: see reader.h. */
#include "core/reader.h"

/* Reading a change that turns out to be another tenant's takes this many times as long as walking over it. */
enum { LOAD_COST = 8 };

bool reader_scratch_init(struct reader_scratch *scratch)
{
	*scratch = (struct reader_scratch){0};
	return document_reader_init(&scratch->documents);
}

void reader_scratch_free(struct reader_scratch *scratch)
{
	document_reader_free(&scratch->documents);
	buffer_free(&scratch->body);
	gap_counter_free(&scratch->gaps);
}

static uint64_t history_of(const struct ring *ring)
{
	return live_load(&ring_live(ring)->history);
}

void reader_init(struct reader *reader, const struct ring *ring, const struct scope *scope,
				 struct start start)
{
	*reader = (struct reader){.ring = ring, .scope = scope, .start = start, .history = history_of(ring)};
	reader->seeking = start.kind == CURSOR_EVENT || start.kind == CURSOR_LSN;
	reader->fresh = start.kind == CURSOR_EARLIEST || start.kind == CURSOR_TIME;
	if (!reader->seeking)
		ring_seek(ring, &start, &reader->place);
}

bool reader_is_outdated(const struct reader *reader)
{
	return reader->history != history_of(reader->ring);
}

void reader_begin_anew(struct reader *reader)
{
	reader->history = history_of(reader->ring);
	reader->place = ring_oldest(reader->ring);
	reader->seeking = false;
}

struct cursor reader_cursor(const struct reader *reader)
{
	return reader->seeking ? reader->start.at : reader->place.cursor;
}

/* Tells of changes that are gone, unless none of them was wanted. */
static bool skip_gap(struct reader *reader, struct reader_scratch *scratch, uint64_t *ret_lagged)
{
	uint64_t lagged = ring_skip_evicted(reader->ring, &reader->scope->filter, &reader->place, &scratch->gaps);

	if (lagged == 0 || reader->fresh)
		return false;
	*ret_lagged = lagged;
	return true;
}

/* Whether the start, which has not been streamed yet, is known never to come. */
static bool is_beyond_wal(const struct reader *reader)
{
	const struct ring_live *live = ring_live(reader->ring);
	return reader->asked > 0 && live_load(&live->refresh_done) >= reader->asked &&
		   reader->start.at.lsn > live_load(&live->server_lsn);
}

bool reader_find_start(struct reader *reader, struct reader_scratch *scratch, enum reader_event *ret_event,
					   uint64_t *ret_lagged)
{
	enum ring_seek result;

	if (!reader->seeking)
		return true;
	reader->history = history_of(reader->ring);
	result = ring_seek(reader->ring, &reader->start, &reader->place);
	if (reader->foreign || (result == SEEK_WAIT && is_beyond_wal(reader))) {
		result = SEEK_FOREIGN;
		reader->place = ring_oldest(reader->ring);
	}
	reader->seeking = result == SEEK_WAIT;
	if (result == SEEK_WAIT)
		*ret_event = READER_WAITING;
	else if (result == SEEK_FOREIGN)
		*ret_event = READER_FOREIGN;
	else if (result == SEEK_EVICTED && skip_gap(reader, scratch, ret_lagged))
		*ret_event = READER_GAP;
	else
		return true;
	return false;
}

static enum document_read read_document(struct reader_scratch *scratch, struct bytes body,
										struct document *ret_document)
{
	return document_read(&scratch->documents, &scratch->change, bytes_of(scratch->collection.schema),
						 bytes_of(scratch->collection.name), body, ret_document);
}

enum reader_load reader_load(const struct ring *ring, const struct record *record,
							 struct reader_scratch *scratch, struct document *ret_document)
{
	buffer_restart(&scratch->body);
	enum ring_read result = ring_read_body(ring, record, &scratch->body);
	if (result != RING_READ_OK)
		return result == RING_READ_DAMAGED ? READER_LOAD_DAMAGED : READER_LOAD_OVERRUN;
	if (record->change.operation == OPERATION_MESSAGE)
		scratch->collection = (struct collection){.id = COLLECTION_NONE};
	else if (!ring_collection(ring, record->change.collection, &scratch->collection))
		return READER_LOAD_FAILED;
	if (scratch->body.failed)
		return READER_LOAD_FAILED;
	scratch->change = record->change;
	switch (read_document(scratch, buffer_bytes(&scratch->body), ret_document)) {
	case DOCUMENT_READ:
		return READER_LOADED;
	case DOCUMENT_NO_MEMORY:
		return READER_LOAD_FAILED;
	case DOCUMENT_MALFORMED:
		break;
	}
	scratch->change.flags |= CHANGE_OVERSIZE;
	read_document(scratch, (struct bytes){0}, ret_document);
	return READER_LOADED;
}

bool scope_admits(const struct scope *scope, const struct document *document)
{
	return scope->tenant_column.size == 0 ||
		   document_matches_tenant(document, scope->tenant_column, scope->tenant);
}

enum reader_event reader_next(struct reader *reader, struct reader_scratch *scratch, uint64_t *budget,
							  struct document *ret_document, uint64_t *ret_lagged)
{
	uint64_t streamed = live_load(&ring_live(reader->ring)->streamed_lsn);
	enum reader_event event;

	if (!reader_find_start(reader, scratch, &event, ret_lagged))
		return event;
	while (*budget > 0) {
		struct record record;
		enum ring_read result = ring_read(reader->ring, reader->place.position, &record);
		if (result == RING_READ_DAMAGED)
			return READER_DAMAGED;
		if (result == RING_READ_END) {
			reader->fresh = false;
			place_follow(&reader->place, streamed);
			return READER_END;
		}
		bool wanted = result == RING_READ_OK && record.kind == RECORD_CHANGE &&
					  filter_matches(&reader->scope->filter, &record.change);
		enum reader_load load =
			wanted ? reader_load(reader->ring, &record, scratch, ret_document) : READER_LOADED;
		if (load == READER_LOAD_DAMAGED)
			return READER_DAMAGED;
		if (load == READER_LOAD_FAILED)
			return READER_FAILED;
		if (result == RING_READ_OVERRUN || load == READER_LOAD_OVERRUN)
			return skip_gap(reader, scratch, ret_lagged) ? READER_GAP : READER_SKIPPED;
		bool admitted = wanted && scope_admits(reader->scope, ret_document);
		uint64_t cost = (record.next - record.position) * (wanted && !admitted ? LOAD_COST : 1);
		*budget -= cost < *budget ? cost : *budget;
		place_advance(&reader->place, &record);
		reader->fresh = false;
		if (admitted)
			return READER_CHANGE;
	}
	return READER_PAUSED;
}
