/*
 * launcher.h: the background worker that keeps the program pg_changefeed running.
 *
 * A background worker that dies by a signal takes every session of the server along. So it holds no code that
 * could: all that has to do with HTTP, libpq and the ring is in the program, which it starts and watches.
 */
#ifndef CHANGEFEED_PG_LAUNCHER_H
#define CHANGEFEED_PG_LAUNCHER_H

/* Only while shared_preload_libraries are loaded. */
void launcher_register(void);

#endif
