/*
 * console.h: the page at `/`, console/index.html, which is part of the program so that it needs no files to
 * serve it.
 */
#ifndef CHANGEFEED_HTTP_CONSOLE_H
#define CHANGEFEED_HTTP_CONSOLE_H

#include "core/bytes.h"

struct bytes console_page(void);

#endif
