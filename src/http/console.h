/*
 * console.h: the page at `/`, console/index.html, which is part of the program so that it needs no files to
 * serve it. In: what the page has to know of its host. Out: the page, with this in the attributes of its <html>.
 */
#ifndef CHANGEFEED_HTTP_CONSOLE_H
#define CHANGEFEED_HTTP_CONSOLE_H

#include <h2o.h>

#include "core/bytes.h"

/* `mount` is where the host serves changes, as h2o.conf writes it; `tenants` says that there are tenants. The
 * pool is the request's. */
void console_append(struct buffer *out, h2o_mem_pool_t *pool, struct bytes mount, bool tenants);

#endif
