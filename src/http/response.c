/* response.c: see response.h. */
#include "http/response.h"

#include "http/libh2o.h"

#define ALLOWED_METHODS "GET, HEAD, OPTIONS"

static void add_header(h2o_req_t *req, const char *name, const char *value, size_t value_size)
{
	h2o_set_header_by_str(&req->pool, &req->res.headers, name, strlen(name), 1, value, value_size, 1);
}

/* `body` lives as long as the request's pool does. */
static void send_held(h2o_req_t *req, int status, const char *type, struct bytes body)
{
	static h2o_generator_t generator;
	h2o_iovec_t vector = h2o_iovec_init(body.data, body.size);

	req->res.status = status;
	req->res.reason = status == 200 ? "OK" : problem_title(status);
	req->res.content_length = body.size;
	add_header(req, "content-type", type, strlen(type));
	add_header(req, "cache-control", H2O_STRLIT("no-store"));
	h2o_start_response(req, &generator);
	if (request_has_method(req, "HEAD"))
		h2o_send(req, NULL, 0, H2O_SEND_STATE_FINAL);
	else
		h2o_send(req, &vector, 1, H2O_SEND_STATE_FINAL);
}

void response_send(h2o_req_t *req, int status, const char *type, struct bytes body)
{
	h2o_iovec_t copy = h2o_strdup(&req->pool, body.data, body.size);
	send_held(req, status, type, (struct bytes){copy.base, copy.len});
}

void response_send_answer(h2o_req_t *req, const char *type, struct answer *answer)
{
	h2o_mem_link_shared(&req->pool, answer);
	send_held(req, 200, type, (struct bytes){answer->data, answer->size});
}

void response_send_page(h2o_req_t *req, const char *type, enum page_kind kind, const void *of,
						void (*append)(struct buffer *out, h2o_req_t *req))
{
	struct worker *worker = worker_of(req);
	struct page *page = &worker->pages[kind];

	if (page->answer == NULL || page->of != of) {
		buffer_clear(&worker->output);
		append(&worker->output, req);
		answer_replace(&page->answer, answer_make(&worker->answers, buffer_bytes(&worker->output)));
		page->of = of;
	}
	req->compress_hint = H2O_COMPRESS_HINT_DISABLE;
	response_send_answer(req, type, page->answer);
}

void response_problem(h2o_req_t *req, const struct problem *problem)
{
	struct worker *worker = worker_of(req);

	live_figure_add(&worker->figures->errors_total, 1);
	if (problem->status == 405)
		add_header(req, "allow", H2O_STRLIT(ALLOWED_METHODS));
	if (problem->status == 429 || problem->status == 503)
		add_header(req, "retry-after", H2O_STRLIT("1"));
	buffer_clear(&worker->output);
	problem_append_json(&worker->output, problem);
	response_send(req, problem->status, PROBLEM_CONTENT_TYPE, buffer_bytes(&worker->output));
}

bool response_allow_origin(h2o_req_t *req, const struct changefeed_options *options)
{
	ssize_t at = -1;
	struct bytes origin = request_next_header(req, "origin", &at);

	if (options == NULL || (!options->cors_any && options->cors_origins == NULL))
		return false;
	add_header(req, "vary", H2O_STRLIT("origin"));
	if (origin.size == 0 || !changefeed_options_allow_origin(options, origin))
		return false;
	if (options->cors_any)
		origin = BYTES("*");
	add_header(req, "access-control-allow-origin", origin.data, origin.size);
	add_header(req, "access-control-expose-headers",
			   H2O_STRLIT("retry-after, changefeed-next-cursor, changefeed-has-more, "
						  "changefeed-lagged, changefeed-reset"));
	return true;
}

bool response_admit(h2o_req_t *req, const struct changefeed_options *options)
{
	struct problem problem;
	bool allowed = response_allow_origin(req, options);

	if (request_has_method(req, "GET") || request_has_method(req, "HEAD"))
		return true;
	if (request_has_method(req, "OPTIONS")) {
		add_header(req, "allow", H2O_STRLIT(ALLOWED_METHODS));
		if (allowed) {
			add_header(req, "access-control-allow-methods", H2O_STRLIT("GET, HEAD"));
			add_header(req, "access-control-allow-headers",
					   H2O_STRLIT("accept, last-event-id, cache-control"));
			add_header(req, "access-control-max-age", H2O_STRLIT("600"));
		}
		req->res.status = 204;
		req->res.reason = "No Content";
		h2o_send_inline(req, "", 0);
		return false;
	}
	problem_set(&problem, 405, "this resource can only be read: use GET");
	response_problem(req, &problem);
	return false;
}
