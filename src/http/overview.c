/* overview.c: see overview.h. */
#include "http/overview.h"

#include "core/percent.h"
#include "core/render/json.h"

/* A name as a part of a path: everything is encoded that a path or our own separators give a meaning. */
static void append_encoded(struct buffer *out, const char *name)
{
	percent_encode(out, bytes_of(name), "_-");
}

/* The shortest path that finds the collection. */
static void append_path(struct buffer *path, struct bytes mount, const struct collection *collection)
{
	buffer_clear(path);
	buffer_append_bytes(path, mount);
	buffer_append_char(path, '/');
	if (strcmp(collection->schema, "public") != 0) {
		append_encoded(path, collection->schema);
		buffer_append_char(path, '.');
	}
	append_encoded(path, collection->name);
}

static void append_collections(struct buffer *out, const struct ring *ring, struct bytes mount)
{
	struct buffer path = {0};
	struct collection collection;
	const char *separator = "";

	for (uint32_t id = 0; ring_collection(ring, id, &collection); id++) {
		if (!collection.published)
			continue;
		append_path(&path, mount, &collection);
		buffer_append_string(out, separator);
		buffer_append_string(out, "{\"schema\":");
		json_append_string(out, bytes_of(collection.schema));
		buffer_append_string(out, ",\"name\":");
		json_append_string(out, bytes_of(collection.name));
		buffer_append_string(out, ",\"changes\":");
		buffer_append_u64(out, collection.changes);
		buffer_append_string(out, ",\"path\":");
		json_append_string(out, buffer_bytes(&path));
		buffer_append_char(out, '}');
		separator = ",";
	}
	buffer_free(&path);
}

static void append_cursor_member(struct buffer *out, const char *name, struct cursor cursor)
{
	buffer_append_string(out, ",\"");
	buffer_append_string(out, name);
	buffer_append_string(out, "\":\"");
	cursor_append(out, cursor);
	buffer_append_char(out, '"');
}

static void append_ring(struct buffer *out, const struct ring *ring)
{
	const struct ring_live *live = ring_live(ring);
	struct start now = {.kind = CURSOR_NOW};
	struct place newest;

	ring_seek(ring, &now, &newest);
	buffer_append_string(out, "{\"capacity_bytes\":");
	buffer_append_u64(out, ring_capacity(ring));
	buffer_append_string(out, ",\"retained_bytes\":");
	buffer_append_u64(out, ring_retained(ring));
	append_cursor_member(out, "oldest", ring_oldest(ring).cursor);
	append_cursor_member(out, "newest", newest.cursor);
	append_cursor_member(out, "streamed_lsn", (struct cursor){.lsn = live_load(&live->streamed_lsn)});
	append_cursor_member(out, "durable_lsn", (struct cursor){.lsn = live_load(&live->durable_lsn)});
	append_cursor_member(out, "confirmed_lsn", (struct cursor){.lsn = live_load(&live->confirmed_lsn)});
	buffer_append_char(out, '}');
}

void overview_append(struct buffer *out, const struct ring *ring, struct bytes mount)
{
	const struct ring_live *live = ring_live(ring);
	uint64_t lag;
	char message[LIVE_MESSAGE_SIZE];

	live_message_get(&live->message, message);
	buffer_append_string(out, "{\"collections\":[");
	append_collections(out, ring, mount);
	buffer_append_string(out, "],\"ring\":");
	append_ring(out, ring);
	buffer_append_string(out, ",\"feed\":{\"state\":");
	json_append_string(out, bytes_of(feed_state_name(live_feed_state(live))));
	buffer_append_string(out, ",\"message\":");
	json_append_string(out, bytes_of(message));
	buffer_append_string(out, ",\"changes_total\":");
	buffer_append_u64(out, live_load(&live->changes_total));
	buffer_append_string(out, ",\"lag_bytes\":");
	if (live_lag(live, &lag))
		buffer_append_u64(out, lag);
	else
		buffer_append_string(out, "null");
	buffer_append_string(out, "}}");
}
