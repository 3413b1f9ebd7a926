/*
 * stderr_capture.h: what a library prints to stderr, caught as text.
 *
 * In between, file descriptor 2 is a file in memory. For short calls in a process with one thread. Not
 * nested.
 */
#ifndef CHANGEFEED_HTTP_CONF_STDERR_CAPTURE_H
#define CHANGEFEED_HTTP_CONF_STDERR_CAPTURE_H

#include "core/bytes.h"

struct stderr_capture {
	int memory; /* -1: nothing is caught */
	int saved;
};

/* Where it fails, for want of descriptors, stderr stays what it is. */
void stderr_capture_begin(struct stderr_capture *capture);

/* Restores stderr and appends the first line that was printed, without its end. */
void stderr_capture_end(struct stderr_capture *capture, struct buffer *ret_line);

#endif
