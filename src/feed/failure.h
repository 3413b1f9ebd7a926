/*
 * failure.h: why something did not work, as one line that tells an operator what to do.
 *
 * Functions of the feed that can fail take a `struct failure *` and fill it in exactly when they fail.
 */
#ifndef CHANGEFEED_FEED_FAILURE_H
#define CHANGEFEED_FEED_FAILURE_H

#include <libpq-fe.h>
#include <stdbool.h>

#include "core/ring/live.h"

struct failure {
	char text[LIVE_MESSAGE_SIZE];
	char sqlstate[6]; /* the server's, or empty */
};

/* Sets the text; line breaks become spaces, the end is cut if it is too long. Returns false, for `return`. */
bool failure_set(struct failure *failure, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The server sent what is not understood: `text` is what is wrong about it. Returns false. */
bool failure_of_protocol(struct failure *failure, const char *text);

/* "what: libpq's reason". Returns false. */
bool failure_of_connection(struct failure *failure, const char *what, const PGconn *connection);

/* "what: the server's primary message (its hint)", and the SQLSTATE. Returns false. */
bool failure_of_result(struct failure *failure, const char *what, const PGresult *result);

#endif
