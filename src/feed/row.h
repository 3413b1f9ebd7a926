/*
 * row.h: a row of the stream as the body of a change (core/change.h).
 *
 * Data in: a relation (relation.h) and the tuples of an Insert, Update or Delete message. Data out:
 * MessagePack.
 *   - `old` holds what the replica identity gives: all columns for a full row, else the identity's columns.
 *   - A value that was not sent because it is TOASTed and unchanged is taken from the old row; if that does
 *     not have it either, the column's name goes to `unchanged`.
 *   - document_id is read from the new row, or from the old one where there is no new one. Where both have one
 *     and they differ, that of the old row follows as old_id.
 *
 * No memory is allocated per row: the buffers are the caller's and are used again.
 */
#ifndef CHANGEFEED_FEED_ROW_H
#define CHANGEFEED_FEED_ROW_H

#include "feed/relation.h"

/* What packing a row needs beside the body; all zero at first, freed by row_scratch_free(). */
struct row_scratch {
	struct buffer packed;
	struct buffer json;
};

void row_scratch_free(struct row_scratch *scratch);

/*
 * Replaces what is in `body`. Returns false if the tuples have another number of columns than the relation,
 * or neither is present. Look at body->failed for memory.
 */
bool row_pack(const struct relation *relation, const struct pgoutput_tuple *old_row,
			  const struct pgoutput_tuple *new_row, struct row_scratch *scratch, struct buffer *body);

/* The same without `new`, `old` and `unchanged`, for a row that is too large; not for others. */
void row_pack_key(const struct relation *relation, const struct pgoutput_tuple *old_row,
				  const struct pgoutput_tuple *new_row, struct row_scratch *scratch, struct buffer *body);

/* The body of a change without a row: a TRUNCATE's. */
void row_pack_none(struct buffer *body);

/* The body of a message (pg_logical_emit_message). */
void row_pack_message(struct bytes prefix, struct bytes content, struct buffer *body);

#endif
