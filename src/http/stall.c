/* stall.c: see stall.h. */
#include "http/stall.h"

#include "core/clock.h"
#include "http/libh2o.h"
#include "http/list.h"
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
	bool looked_at;
	uint32_t taken_kb; /* see stall_look() */
};

static void on_dispose(void *pointer)
{
	struct response *response = pointer;
	list_leave(&response->link);
}

static bool is_stream(const h2o_req_t *req)
{
	ssize_t at = h2o_find_header(&req->res.headers, H2O_TOKEN_CONTENT_TYPE, -1);
	if (at < 0)
		return false;
	h2o_iovec_t type = req->res.headers.entries[at].value;
	return h2o_memis(type.base, type.len, H2O_STRLIT("text/event-stream"));
}

static void on_response(h2o_filter_t *filter, h2o_req_t *req, h2o_ostream_t **slot)
{
	const struct changefeed_options *options = ((struct stall_filter *)filter)->options;
	struct worker *worker = worker_of(req);
	/* not known of a list of files, for example */
	size_t length = req->res.content_length == SIZE_MAX ? 0 : req->res.content_length;

	if (!is_stream(req)) {
		struct response *response = h2o_mem_alloc_shared(&req->pool, sizeof(*response), on_dispose);
		*response = (struct response){.req = req,
									  .options = options,
									  .deadline_ms = clock_monotonic_ms() +
													 changefeed_options_patience_ms(options, length)};
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
	config_each_path(config, watch_path);
}

uint32_t stall_look(h2o_req_t *req, uint32_t *taken_kb)
{
	h2o_socket_t *socket = request_socket(req);
	uint32_t before = *taken_kb;

	*taken_kb = socket == NULL ? 0 : (uint32_t)(socket_tcp_info(socket).tcpi_bytes_acked / 1024);
	return *taken_kb - before;
}

bool stall_goes_on(h2o_req_t *req, int64_t patience_ms, uint32_t *taken_kb)
{
	return stall_look(req, taken_kb) >= (uint64_t)patience_ms * SLOWEST_BYTES_PER_S / 1000 / 1024;
}

void stall_tick(struct worker *worker)
{
	LIST_EACH (struct response, link, response, &worker->responses) {
		if (!response->looked_at)
			stall_look(response->req, &response->taken_kb);
		response->looked_at = true;
		if (worker->now_ms < response->deadline_ms)
			continue;
		int64_t patience_ms = changefeed_options_patience_ms(response->options, 0);
		if (stall_goes_on(response->req, patience_ms, &response->taken_kb)) {
			response->deadline_ms = worker->now_ms + patience_ms;
			continue;
		}
		h2o_linklist_unlink(&response->link);
		live_figure_add(&worker->figures->reaped_total, 1);
		hangup_shutdown(response->req);
	}
}
