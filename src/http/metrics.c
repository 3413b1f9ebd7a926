/* metrics.c: see metrics.h. */
#include "http/metrics.h"

#include <stddef.h>

#include "core/clock.h"

enum metric_type { GAUGE, COUNTER };

struct metric {
	const char *name;
	enum metric_type type;
	size_t offset; /* of an _Atomic uint64_t in struct ring_live, of a uint64_t in struct live_totals */
	const char *help;
};

#define LIVE(field)  offsetof(struct ring_live, field)
#define TOTAL(field) offsetof(struct live_totals, field)

static const struct metric feed_metrics[] = {
	{"streamed_lsn", GAUGE, LIVE(streamed_lsn),
	 "Everything that ends at or before this LSN has been delivered to the ring."},
	{"durable_lsn", GAUGE, LIVE(durable_lsn), "Everything that ends at or before this LSN is safe on disk."},
	{"confirmed_lsn", GAUGE, LIVE(confirmed_lsn), "The position last confirmed to the replication slot."},
	{"server_lsn", GAUGE, LIVE(server_lsn), "The end of the server's WAL when last looked at."},
	{"changes_total", COUNTER, LIVE(changes_total), "Changes appended to the ring."},
	{"transactions_total", COUNTER, LIVE(transactions_total),
	 "Transactions with changes appended to the ring."},
	{"received_bytes_total", COUNTER, LIVE(received_bytes_total), "Bytes received from PostgreSQL."},
	{"ring_appended_bytes_total", COUNTER, LIVE(appended_bytes_total), "Bytes appended to the ring."},
	{"ring_checkpoints_total", COUNTER, LIVE(checkpoints_total),
	 "Checkpoints of the ring that reached the disk."},
	{"feed_reconnects_total", COUNTER, LIVE(reconnects_total), "Times that the feed had to connect again."},
	{"feed_deaths_total", COUNTER, LIVE(feed_deaths_total), "Times that the feed process was replaced."},
	{"worker_deaths_total", COUNTER, LIVE(worker_deaths_total), "Times that a worker process was replaced."},
	{"reloads_total", COUNTER, LIVE(reloads_total), "Configurations taken over by SIGHUP."},
};

/* Of all workers. */
static const struct metric total_metrics[] = {
	{"connections", GAUGE, TOTAL(connections), "Open connections."},
	{"streams", GAUGE, TOTAL(streams), "Open SSE streams."},
	{"polls_waiting", GAUGE, TOTAL(polls_waiting), "Polls that wait for a change."},
	{"connections_total", COUNTER, TOTAL(connections_total), "Connections accepted."},
	{"requests_total", COUNTER, TOTAL(requests_total), "Requests for our resources."},
	{"streams_total", COUNTER, TOTAL(streams_total), "SSE streams begun."},
	{"polls_total", COUNTER, TOTAL(polls_total), "Polls begun."},
	{"errors_total", COUNTER, TOTAL(errors_total), "Problem documents sent."},
	{"events_total", COUNTER, TOTAL(events_total), "Changes sent to clients, each client counted."},
	{"sent_bytes_total", COUNTER, TOTAL(sent_bytes_total),
	 "Bytes of events and batches handed to the kernel or to TLS."},
	{"renders_total", COUNTER, TOTAL(renders_total),
	 "Changes rendered; less than events, because a rendering is shared."},
	{"gaps_total", COUNTER, TOTAL(gaps_total), "Gaps that streams and polls were told of."},
	{"lagged_events_total", COUNTER, TOTAL(lagged_events_total), "Changes that were gone in these gaps."},
	{"reaped_total", COUNTER, TOTAL(reaped_total), "Stalled clients that were cut off."},
	{"refused_total", COUNTER, TOTAL(refused_total),
	 "Connections and requests over the limits for their address."},
	{"floods_total", COUNTER, TOTAL(floods_total), "Connections that were cut off because they flooded."},
};

static void append(struct buffer *out, const char *name, enum metric_type type, const char *help,
				   uint64_t value)
{
	buffer_printf(out, "# HELP pg_changefeed_%s %s\n# TYPE pg_changefeed_%s %s\npg_changefeed_%s ", name,
				  help, name, type == GAUGE ? "gauge" : "counter", name);
	buffer_append_u64(out, value);
	buffer_append_char(out, '\n');
}

static void append_feed(struct buffer *out, const struct ring_live *live)
{
	for (size_t i = 0; i < COUNT(feed_metrics); i++) {
		const struct metric *metric = &feed_metrics[i];
		const _Atomic uint64_t *figure = (const void *)((const char *)live + metric->offset);
		append(out, metric->name, metric->type, metric->help, live_figure(figure));
	}
}

static void append_totals(struct buffer *out, const struct ring_live *live)
{
	struct live_totals totals = live_totals(live);

	for (size_t i = 0; i < COUNT(total_metrics); i++) {
		const struct metric *metric = &total_metrics[i];
		const uint64_t *total = (const void *)((const char *)&totals + metric->offset);
		append(out, metric->name, metric->type, metric->help, *total);
	}
}

/* How far the ring reaches; no samples while it is empty. */
static void append_times(struct buffer *out, const struct ring *ring)
{
	int64_t last_us = live_figure(&ring_live(ring)->last_commit_us);
	struct record oldest;

	if (last_us > 0)
		append(out, "last_commit_timestamp_seconds", GAUGE, "When the last change in the ring was committed.",
			   (uint64_t)last_us / SECOND);
	if (ring_read(ring, ring_oldest(ring).position, &oldest) == RING_READ_OK)
		append(out, "ring_oldest_timestamp_seconds", GAUGE,
			   "When the oldest change in the ring was committed.",
			   (uint64_t)oldest.change.commit_us / SECOND);
}

void metrics_append(struct buffer *out, const struct ring *ring)
{
	const struct ring_live *live = ring_live(ring);
	uint64_t lag;

	append_feed(out, live);
	append(out, "feed_up", GAUGE, "1 while the feed streams.", live_feed_state(live) == FEED_STREAMING);
	if (live_lag(live, &lag))
		append(out, "feed_lag_bytes", GAUGE,
			   "WAL that was written and not yet streamed; absent while the server cannot be looked at.",
			   lag);
	if (live_slot_lag(live, &lag))
		append(out, "slot_lag_bytes", GAUGE,
			   "WAL that was written and not yet confirmed to the replication slot, so that PostgreSQL "
			   "keeps it; absent like feed_lag_bytes.",
			   lag);
	append(out, "ring_capacity_bytes", GAUGE, "Size of the ring.", ring_capacity(ring));
	append(out, "ring_retained_bytes", GAUGE, "Bytes of history in the ring.", ring_retained(ring));
	append_times(out, ring);
	append(out, "collections", GAUGE, "Collections that the ring knows.", ring_collection_count(ring));
	append_totals(out, live);
}
