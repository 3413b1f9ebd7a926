/* routes.c: see routes.h. */
#include "http/routes.h"

#include "http/console.h"
#include "http/metrics.h"
#include "http/overview.h"
#include "http/poll.h"
#include "http/request.h"
#include "http/response.h"

struct changefeed_handler {
	h2o_handler_t super;
	const struct changefeed_options *options;
};

struct page_handler {
	h2o_handler_t super;
	enum conf_page page;
};

static void not_found(h2o_req_t *req, const char *detail)
{
	struct problem problem;
	problem_set(&problem, 404, "%s", detail);
	response_problem(req, &problem);
}

/* The raw path without its query: names are split before they are decoded. */
static struct bytes raw_path(const h2o_req_t *req)
{
	size_t size = req->query_at == SIZE_MAX ? req->path.len : req->query_at;
	return (struct bytes){req->path.base, size};
}

/* Leaves what comes behind the mount, with its slash. Returns false if the path is not written so: libh2o
 * compares what is decoded. */
static bool cut_mount(struct bytes *path, struct bytes mount)
{
	if (path->size < mount.size || memcmp(path->data, mount.data, mount.size) != 0)
		return false;
	path->data += mount.size;
	path->size -= mount.size;
	return path->size == 0 || path->data[0] == '/';
}

static bool cut_suffix(struct bytes *text, struct bytes suffix)
{
	if (text->size < suffix.size ||
		memcmp(text->data + text->size - suffix.size, suffix.data, suffix.size) != 0)
		return false;
	text->size -= suffix.size;
	return true;
}

static struct bytes mount_of(const h2o_pathconf_t *path)
{
	struct bytes mount = {path->path.base, path->path.len};
	while (mount.size > 0 && mount.data[mount.size - 1] == '/')
		mount.size--;
	return mount;
}

static void append_overview(struct buffer *out, h2o_req_t *req)
{
	overview_append(out, worker_of(req)->ring, mount_of(req->pathconf));
}

static void answer_overview(struct worker *worker, h2o_req_t *req)
{
	if (!polls_refuse(worker, req))
		response_send_page(req, "application/json", PAGE_OVERVIEW, req->pathconf, append_overview);
}

static int on_changefeed(h2o_handler_t *handler, h2o_req_t *req)
{
	const struct changefeed_options *options = ((struct changefeed_handler *)handler)->options;
	struct worker *worker = worker_of(req);
	struct bytes path = raw_path(req), mount = mount_of(req->pathconf);

	live_figure_add(&worker->figures->requests_total, 1);
	if (!response_admit(req, options))
		return 0;
	if (!cut_mount(&path, mount)) {
		not_found(req, "write the path as it is configured, without percent-encoding its fixed part");
		return 0;
	}
	if (path.size <= 1) {
		answer_overview(worker, req);
		return 0;
	}
	path.data++;
	path.size--;
	enum delivery delivery = cut_suffix(&path, BYTES("/poll")) ? DELIVERY_POLL : DELIVERY_SSE;
	if (path.size == 0 || memchr(path.data, '/', path.size) != NULL)
		not_found(
			req,
			"there is {collection} and {collection}/poll here; a slash in a table's name is written %2F");
	else
		request_changes(worker, req, options, delivery, path);
	return 0;
}

/* NULL: no changes are served there. */
static const struct changefeed_handler *changefeed_of(const h2o_pathconf_t *path)
{
	for (size_t i = 0; i < path->handlers.size; i++) {
		if (path->handlers.entries[i]->on_req == on_changefeed)
			return (const struct changefeed_handler *)path->handlers.entries[i];
	}
	return NULL;
}

const struct changefeed_options *routes_options(const h2o_pathconf_t *path)
{
	const struct changefeed_handler *changefeed = changefeed_of(path);
	return changefeed == NULL ? NULL : changefeed->options;
}

static void answer_ready(struct worker *worker, h2o_req_t *req)
{
	char feed[LIVE_FEED_TEXT_SIZE];
	struct problem problem;

	if (live_feed_state(worker->live) == FEED_STREAMING) {
		response_send(req, 200, "text/plain; charset=utf-8", BYTES("ready\n"));
		return;
	}
	live_feed_text(worker->live, feed);
	problem_set(&problem, 503, "the feed is %s", feed);
	response_problem(req, &problem);
}

/* Of several paths with changes the page shows the first that libh2o would match, which is the longest. */
static void append_console(struct buffer *out, h2o_req_t *req)
{
	const struct changefeed_handler *changefeed = NULL;
	struct bytes mount = BYTES("/cdc");

	for (size_t i = 0; changefeed == NULL && i < req->hostconf->paths.size; i++) {
		changefeed = changefeed_of(&req->hostconf->paths.entries[i]);
		if (changefeed != NULL)
			mount = mount_of(&req->hostconf->paths.entries[i]);
	}
	console_append(out, &req->pool, mount, changefeed != NULL && changefeed->options->tenant_column != NULL);
}

static void append_metrics(struct buffer *out, h2o_req_t *req)
{
	metrics_append(out, worker_of(req)->ring);
}

static void answer_page(struct worker *worker, h2o_req_t *req, enum conf_page page)
{
	switch (page) {
	case CONF_PAGE_CONSOLE:
		response_send_page(req, "text/html; charset=utf-8", PAGE_CONSOLE, req->hostconf, append_console);
		break;
	case CONF_PAGE_HEALTHZ:
		response_send(req, 200, "text/plain; charset=utf-8", BYTES("alive\n"));
		break;
	case CONF_PAGE_READYZ:
		answer_ready(worker, req);
		break;
	case CONF_PAGE_METRICS:
		response_send_page(req, "text/plain; version=0.0.4; charset=utf-8", PAGE_METRICS, NULL,
						   append_metrics);
		break;
	}
}

static int on_page(h2o_handler_t *handler, h2o_req_t *req)
{
	struct worker *worker = worker_of(req);
	struct bytes mount = {req->pathconf->path.base, req->pathconf->path.len};

	live_figure_add(&worker->figures->requests_total, 1);
	if (!response_admit(req, NULL))
		return 0;
	if (!bytes_equal(raw_path(req), mount))
		not_found(req,
				  "there is nothing here; changes are at /cdc/{collection} unless h2o.conf says otherwise");
	else
		answer_page(worker, req, ((struct page_handler *)handler)->page);
	return 0;
}

static void add_changefeed(h2o_pathconf_t *path, const struct changefeed_options *options)
{
	struct changefeed_handler *handler = (void *)h2o_create_handler(path, sizeof(*handler));
	handler->super.on_req = on_changefeed;
	handler->options = options;
}

static void add_page(h2o_pathconf_t *path, enum conf_page page)
{
	struct page_handler *handler = (void *)h2o_create_handler(path, sizeof(*handler));
	handler->super.on_req = on_page;
	handler->page = page;
}

const struct conf_hooks routes_hooks = {add_changefeed, add_page};
