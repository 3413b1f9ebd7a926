/* stall.c: see stall.h. */
#include "http/stall.h"

#include "core/clock.h"
#include "http/libh2o.h"
#include "http/routes.h"

struct stall_filter {
	h2o_filter_t super;
	const struct changefeed_options *options;
};

struct response {
	h2o_linklist_t link; /* in worker->responses */
	h2o_req_t *req;
	const struct changefeed_options *options;
	int64_t deadline_ms; /* for the client to have taken it */
	uint64_t acked;      /* of its connection, when it was looked at last; 0: not yet */
};

static void on_dispose(void *pointer)
{
	struct response *response = pointer;
	list_leave(&response->link);
}

static void on_response(h2o_filter_t *filter, h2o_req_t *req, h2o_ostream_t **slot)
{
	const struct changefeed_options *options = ((struct stall_filter *)filter)->options;
	struct worker *worker = worker_of(req);

	if (req->res.content_length != SIZE_MAX) {
		struct response *response = h2o_mem_alloc_shared(&req->pool, sizeof(*response), on_dispose);
		*response = (struct response){.req = req,
									  .options = options,
									  .deadline_ms =
										  clock_monotonic_ms() +
										  changefeed_options_patience_ms(options, req->res.content_length)};
		h2o_linklist_insert(&worker->responses, &response->link);
	}
	h2o_setup_next_ostream(req, slot);
}

/* It is in front of the filters that change a length, such as gzip's. */
static void watch_path(h2o_pathconf_t *path)
{
	struct stall_filter *filter = (void *)h2o_create_filter(path, sizeof(*filter));
	filter->super.on_setup_ostream = on_response;
	filter->options = routes_options(path);
}

void stall_watch_paths(h2o_globalconf_t *config)
{
	for (h2o_hostconf_t **host = config->hosts; *host != NULL; host++) {
		for (size_t i = 0; i < (*host)->paths.size; i++)
			watch_path(&(*host)->paths.entries[i]);
		watch_path(&(*host)->fallback_path);
	}
}

/*
 * Over HTTP/2 many responses share a connection, and each may have to wait for all of them. Whether the client
 * has read fast enough since the last look, whatever it was that it read.
 */
static bool shares_progress(struct response *response, int64_t patience_ms)
{
	h2o_socket_t *socket = request_is_http2(response->req) ? request_socket(response->req) : NULL;
	uint64_t acked = socket == NULL ? 0 : socket_tcp_info(socket).tcpi_bytes_acked;
	uint64_t before = response->acked;

	response->acked = acked;
	return acked > 0 && (before == 0 || acked - before >= (uint64_t)patience_ms * SLOWEST_BYTES_PER_S / 1000);
}

void stall_tick(struct worker *worker)
{
	LIST_EACH (struct response, link, response, &worker->responses) {
		if (worker->now_ms < response->deadline_ms)
			continue;
		int64_t patience_ms = changefeed_options_patience_ms(response->options, 0);
		if (shares_progress(response, patience_ms)) {
			response->deadline_ms = worker->now_ms + patience_ms;
			continue;
		}
		h2o_linklist_unlink(&response->link);
		live_figure_add(&worker->figures->reaped_total, 1);
		hangup_shutdown(response->req);
	}
}
