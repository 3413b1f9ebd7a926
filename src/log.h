/*
 * log.h: one line to standard error, which whoever started the process keeps (the server's log, a journal).
 *
 *   2026-11-29 19:27:16.123 UTC [4711] pg_changefeed[feed]: LOG: streaming from slot "changefeed"
 *
 * Time and process stand where PostgreSQL's lines have them by default. A line is one write(2), so that lines
 * of several processes do not mix. Nothing here buffers, allocates or waits for anything but standard error.
 */
#ifndef CHANGEFEED_LOG_H
#define CHANGEFEED_LOG_H

enum log_level { LOG_LEVEL_INFO, LOG_LEVEL_WARNING, LOG_LEVEL_ERROR };

/* Names the process in its lines: "feed", "worker 3". The text is borrowed for the life of the process. */
void log_open(const char *process);

/* Writes a line, cut at some 2000 bytes, with spaces for line breaks and control characters. Keeps errno. */
void log_line(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
