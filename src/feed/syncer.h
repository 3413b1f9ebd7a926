/*
 * syncer.h: a thread that waits for the disk, so that the stream does not.
 *
 * Of the three steps of a checkpoint (ring_writer.h) only ring_checkpoint_sync() runs in the thread; its begin
 * and end run in the caller's. One checkpoint at a time. An eventfd tells the event loop that it is done.
 */
#ifndef CHANGEFEED_FEED_SYNCER_H
#define CHANGEFEED_FEED_SYNCER_H

#include <stdbool.h>

#include "core/ring/ring_writer.h"

struct syncer;

/* Starts the thread. The writer is borrowed until syncer_stop(). Returns NULL and sets errno on failure. */
struct syncer *syncer_start(struct ring_writer *writer);

/* Readable when the checkpoint under way is done: call syncer_finish(). */
int syncer_fd(const struct syncer *syncer);

/* Whether a checkpoint is under way. */
bool syncer_running(const struct syncer *syncer);

/* Begins a checkpoint. Returns false if there is nothing new to make durable. Not while one is running. */
bool syncer_begin(struct syncer *syncer);

/* Ends the checkpoint that syncer_fd() reported, never blocks. Returns 0 or the errno of writing. */
int syncer_finish(struct syncer *syncer);

/* Waits for the checkpoint under way and finishes it. Returns false if that takes longer; *ret_error as
 * syncer_finish(). */
bool syncer_wait(struct syncer *syncer, int timeout_ms, int *ret_error);

/* Ends the thread and frees the syncer. Not while a checkpoint is running. */
void syncer_stop(struct syncer *syncer);

#endif
