/* metrics.c: see metrics.h. */
#include "http/metrics.h"

#include <stddef.h>

enum metric_type { GAUGE, COUNTER };

struct metric {
	const char *name;
	enum metric_type type;
	size_t offset; /* of an _Atomic uint64_t */
	const char *help;
};

#define LIVE(field)   offsetof(struct ring_live, field)
#define WORKER(field) offsetof(struct live_worker, field)

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

/* Summed over all workers. Those that ended keep their counters in their slot. */
static const struct metric worker_metrics[] = {
	{"connections", GAUGE, WORKER(connections), "Open connections."},
	{"streams", GAUGE, WORKER(streams), "Open SSE streams."},
	{"polls_waiting", GAUGE, WORKER(polls_waiting), "Polls that wait for a change."},
	{"connections_total", COUNTER, WORKER(connections_total), "Connections accepted."},
	{"requests_total", COUNTER, WORKER(requests_total), "Requests for our resources."},
	{"streams_total", COUNTER, WORKER(streams_total), "SSE streams begun."},
	{"polls_total", COUNTER, WORKER(polls_total), "Polls begun."},
	{"errors_total", COUNTER, WORKER(errors_total), "Problem documents sent."},
	{"events_total", COUNTER, WORKER(events_total), "Changes sent to clients, each client counted."},
	{"sent_bytes_total", COUNTER, WORKER(sent_bytes_total),
	 "Bytes of events and batches handed to the kernel or to TLS."},
	{"renders_total", COUNTER, WORKER(renders_total),
	 "Changes rendered; less than events, because a rendering is shared."},
	{"gaps_total", COUNTER, WORKER(gaps_total), "Gaps that streams and polls were told of."},
	{"lagged_events_total", COUNTER, WORKER(lagged_events_total), "Changes that were gone in these gaps."},
	{"reaped_total", COUNTER, WORKER(reaped_total), "Stalled clients that were cut off."},
	{"refused_total", COUNTER, WORKER(refused_total),
	 "Connections and requests over the limits for their address."},
	{"floods_total", COUNTER, WORKER(floods_total), "Connections that were cut off because they flooded."},
};

static uint64_t load_at(const void *base, size_t offset)
{
	return atomic_load_explicit((const _Atomic uint64_t *)((const char *)base + offset),
								memory_order_relaxed);
}

static void append(struct buffer *out, const char *name, enum metric_type type, const char *help,
				   uint64_t value)
{
	buffer_printf(out, "# HELP pg_changefeed_%s %s\n# TYPE pg_changefeed_%s %s\npg_changefeed_%s ", name,
				  help, name, type == GAUGE ? "gauge" : "counter", name);
	buffer_append_u64(out, value);
	buffer_append_char(out, '\n');
}

static void append_workers(struct buffer *out, const struct ring_live *live)
{
	for (size_t i = 0; i < sizeof(worker_metrics) / sizeof(worker_metrics[0]); i++) {
		const struct metric *metric = &worker_metrics[i];
		uint64_t sum = 0;
		for (int worker = 0; worker < LIVE_WORKERS_MAX; worker++) {
			const struct live_worker *figures = &live->workers[worker];
			bool runs = atomic_load_explicit(&figures->pid, memory_order_relaxed) != 0;
			sum += runs || metric->type == COUNTER ? load_at(figures, metric->offset) : 0;
		}
		append(out, metric->name, metric->type, metric->help, sum);
	}
}

void metrics_append(struct buffer *out, const struct ring *ring)
{
	const struct ring_live *live = ring_live(ring);
	uint32_t state = atomic_load_explicit(&live->feed_state, memory_order_relaxed);
	uint64_t head = ring_head(ring), tail = ring_tail(ring);
	uint64_t lag;

	for (size_t i = 0; i < sizeof(feed_metrics) / sizeof(feed_metrics[0]); i++)
		append(out, feed_metrics[i].name, feed_metrics[i].type, feed_metrics[i].help,
			   load_at(live, feed_metrics[i].offset));
	append(out, "feed_up", GAUGE, "1 while the feed streams.", state == FEED_STREAMING);
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
	append(out, "ring_retained_bytes", GAUGE, "Bytes of history in the ring.", head > tail ? head - tail : 0);
	append(out, "collections", GAUGE, "Collections that the ring knows.", ring_collection_count(ring));
	append_workers(out, live);
}
