/*
 * ring_resize.h: gives a ring another size and keeps its history as far as it fits.
 *
 * The history is written into a second file, which then takes the place of the first. What does not fit
 * is evicted in the course of it, and so is in the log of evicted changes: cursors and gaps mean the same
 * afterwards.
 */
#ifndef CHANGEFEED_CORE_RING_RING_RESIZE_H
#define CHANGEFEED_CORE_RING_RING_RESIZE_H

#include "core/ring/ring_file.h"

/*
 * Resizes the ring at `path`, which nobody else may write. Blocks on the disk. On failure the ring is as it
 * was, but for RING_FILE_DAMAGED, where ring_is_damaged().
 */
enum ring_file_error ring_resize(const char *path, uint64_t capacity);

#endif
