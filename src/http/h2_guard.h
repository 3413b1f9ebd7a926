/*
 * h2_guard.h: keeps a remote client from aborting a worker, or filling its memory or its log, through libh2o
 * 2.2.5.
 *
 * Aborts: a stream whose last bytes have been handed to TCP, but not taken by it, waits in a list. When the
 * flow-control window of such a stream opens (WINDOW_UPDATE, or SETTINGS_INITIAL_WINDOW_SIZE) after it had
 * been used up, update_stream_output_window() in lib/http2/connection.c asserts that it is not in that list,
 * and aborts. (Later versions of h2o look instead.)
 *
 * The functions that end a stream are exported, and the library calls them through the dynamic linker, which
 * prefers the program's. Ours call the library's and give the ended stream, which has nothing more to send, a
 * window that cannot be used up. RFC 9113, section 6.9.1, then makes a WINDOW_UPDATE for it a flow-control
 * error of that stream: it is answered with RST_STREAM behind the stream's END_STREAM, where clients ignore
 * it.
 *
 * Memory: in HPACK a header that came once is one byte each further time, and a hundred here, for as long as the
 * request lives: also while its body does not come. Of the header Cache-Digest, a draft that no browser sends,
 * the library makes 64 times its value each time: a frame of 16 kB made 4 GB. Ours, around the exported
 * function that reads a request's headers, ends a connection with a request of very many, or of very large
 * ones, and has Cache-Digest read as any other. (It would only spare a push of what the client has.)
 *
 * With a library that binds its own symbols (-Bsymbolic) this does nothing; the worker then aborts and is
 * replaced.
 *
 * The log: the library prints a line for each frame of a type that it does not know, which RFC 9113, section
 * 4.1, says to ignore, and honest browsers send such frames. These lines, and only these, are dropped.
 */
#ifndef CHANGEFEED_HTTP_H2_GUARD_H
#define CHANGEFEED_HTTP_H2_GUARD_H

#include <stdbool.h>

/* To be called before the first connection. Returns false if the library has no such functions, or memory is
 * out. */
bool h2_guard_init(void);

#endif
