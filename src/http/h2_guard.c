/* h2_guard.c: see h2_guard.h. */
#include "http/h2_guard.h"

#include <dlfcn.h>
#include <limits.h>

#include <h2o.h>
#include <h2o/http2.h>
#include <h2o/http2_internal.h>

typedef void (*stream_function)(h2o_http2_conn_t *, h2o_http2_stream_t *);

static stream_function library_send, library_reset;

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

bool h2_guard_init(void)
{
	library_send = (stream_function)dlsym(RTLD_NEXT, "h2o_http2_stream_send_pending_data");
	library_reset = (stream_function)dlsym(RTLD_NEXT, "h2o_http2_stream_reset");
	return library_send != NULL && library_reset != NULL;
}
