/*
 * routes.h: which path is answered by what. The paths of changes are where h2o.conf says `changefeed: ON`;
 * the pages are on every host, see conf.h.
 *
 *   {path}                      the collections and the ring's bounds      overview.h
 *   {path}/{collection}         Server-Sent Events                         stream.h
 *   {path}/{collection}/poll    a batch                                    poll.h
 *   / /healthz /readyz /metrics                                            here, metrics.h
 */
#ifndef CHANGEFEED_HTTP_ROUTES_H
#define CHANGEFEED_HTTP_ROUTES_H

#include "http/conf/conf.h"

/* The options of a path with changes, NULL of any other. */
const struct changefeed_options *routes_options(const h2o_pathconf_t *path);

/* The hooks for conf_load(). */
extern const struct conf_hooks routes_hooks;

#endif
