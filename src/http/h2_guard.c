/* h2_guard.c: see h2_guard.h. */
#include "http/h2_guard.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <h2o.h>
#include <h2o/http2.h>
#include <h2o/http2_internal.h>

enum {
	HEADERS_MAX = 256,             /* over HTTP/1 libh2o takes 100; here a cookie may be one each */
	HEADERS_SIZE_MAX = 256 * 1024, /* what is much less is answered with 431, see limits.c */
	BLOCK_MAX = 64 * 1024,         /* of them as they come, so that no more is read only to be refused */
	HIDDEN_MAX = 1024,             /* of that, in what the library does not keep as headers */
	HEADER_OVERHEAD = 8,           /* of each header, for its lengths */
};

typedef void (*stream_function)(h2o_http2_conn_t *, h2o_http2_stream_t *);
typedef void (*connection_function)(h2o_http2_conn_t *);
typedef int (*parse_function)(h2o_req_t *, h2o_hpack_header_table_t *, const uint8_t *, size_t, int *,
							  size_t *, h2o_cache_digests_t **, const char **);

static stream_function library_send, library_reset;
static connection_function library_request_write;
static parse_function library_parse_headers;

/* Beyond the largest window there is by more than any change of it. */
static void open_window(h2o_http2_stream_t *stream)
{
	stream->output_window._avail = SSIZE_MAX / 2;
}

void h2o_http2_stream_send_pending_data(h2o_http2_conn_t *conn, h2o_http2_stream_t *stream)
{
	library_send(conn, stream);
	if (stream->state == H2O_HTTP2_STREAM_STATE_END_STREAM)
		open_window(stream);
}

/* The library may free the stream at once, else it ends it. */
void h2o_http2_stream_reset(h2o_http2_conn_t *conn, h2o_http2_stream_t *stream)
{
	open_window(stream);
	library_reset(conn, stream);
}

void h2o_http2_conn_request_write(h2o_http2_conn_t *conn)
{
	if (conn->sock != NULL)
		library_request_write(conn);
}

/* content-length and host are not among the headers, but each of them leaves something behind, too: a block
 * that is much larger than what it shows is full of them. */
static bool is_bloated(const h2o_req_t *req, size_t block_size)
{
	size_t size = 0, shown = req->input.path.len + req->input.authority.len + HIDDEN_MAX;

	for (size_t i = 0; i < req->headers.size; i++)
		size += req->headers.entries[i].name->len + req->headers.entries[i].value.len;
	shown += size + req->headers.size * HEADER_OVERHEAD;
	return req->headers.size > HEADERS_MAX || size > HEADERS_SIZE_MAX || block_size > shown;
}

int h2o_hpack_parse_headers(h2o_req_t *req, h2o_hpack_header_table_t *table, const uint8_t *from, size_t size,
							int *pseudo_headers, size_t *content_length, h2o_cache_digests_t **digests,
							const char **why)
{
	(void)digests; /* without them the library does not read any */
	if (size > BLOCK_MAX)
		return H2O_HTTP2_ERROR_ENHANCE_YOUR_CALM;
	int result = library_parse_headers(req, table, from, size, pseudo_headers, content_length, NULL, why);
	return is_bloated(req, size) ? H2O_HTTP2_ERROR_ENHANCE_YOUR_CALM : result;
}

/* What stdio prints to stderr, line by line; our own log does not go this way. */
static ssize_t write_to_stderr(void *cookie, const char *bytes, size_t size)
{
	static const char unknown_frame[] = "skipping frame (type:";
	(void)cookie;

	if (size >= sizeof(unknown_frame) - 1 && memcmp(bytes, unknown_frame, sizeof(unknown_frame) - 1) == 0)
		return (ssize_t)size;
	ssize_t written = write(STDERR_FILENO, bytes, size);
	return written < 0 ? 0 : written;
}

static bool filter_stderr(void)
{
	FILE *filtered = fopencookie(NULL, "w", (cookie_io_functions_t){.write = write_to_stderr});

	if (filtered == NULL)
		return false;
	setvbuf(filtered, NULL, _IOLBF, BUFSIZ);
	stderr = filtered;
	return true;
}

bool h2_guard_init(void)
{
	library_send = (stream_function)dlsym(RTLD_NEXT, "h2o_http2_stream_send_pending_data");
	library_reset = (stream_function)dlsym(RTLD_NEXT, "h2o_http2_stream_reset");
	library_request_write = (connection_function)dlsym(RTLD_NEXT, "h2o_http2_conn_request_write");
	library_parse_headers = (parse_function)dlsym(RTLD_NEXT, "h2o_hpack_parse_headers");
	return library_send != NULL && library_reset != NULL && library_request_write != NULL &&
		   library_parse_headers != NULL && filter_stderr();
}
