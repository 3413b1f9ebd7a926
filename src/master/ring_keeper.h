/*
 * ring_keeper.h: the master's part in the ring's file: claims it, makes it, gives it another size, watches it.
 *
 * A ring is one master's alone. Two masters with one ring would take each other's wake-ups, resize it against
 * each other, and replace it under one another. (The ring's own lock sees to it that only one feed writes.)
 * The claim is a lock of the file `<ring>.lock`, not of the ring's own, which may be replaced at any time. The
 * kernel gives it back when the process ends, however that ends; a forked process has no part in it.
 */
#ifndef CHANGEFEED_MASTER_RING_KEEPER_H
#define CHANGEFEED_MASTER_RING_KEEPER_H

#include <stdbool.h>
#include <stdint.h>

struct ring;

/*
 * Claims the ring until this process ends. Where another has it, tries for `patience_ms` (blocks for that
 * long at most). A file that is no ring and never was used as one is left alone: a mistake in a setting must not
 * cost somebody's file. False: the log has said whose it is, or why it cannot be claimed.
 */
bool ring_keeper_claim(const char *path, unsigned patience_ms);

/*
 * Opens the ring, with the rights of a worker; gives it the wanted size before, with what fits of its history.
 * If there is none that can be used, makes one, which begins a new history. Blocks on the disk. NULL: the log
 * has said why.
 */
struct ring *ring_keeper_open(const char *path, uint64_t size);

/*
 * Lets the group read the ring where this process lets it read new files: a launcher's umask is that of its
 * server, whose data directory the group may read if it was made so (initdb --allow-group-access), for backups.
 */
void ring_keeper_share(const char *path);

/*
 * Whether the ring can be gone on with; the log has said if not. To be asked before anything is written to
 * the mapping: where the file was cut, that is a SIGBUS.
 */
bool ring_keeper_is_sound(const struct ring *ring, const char *path);

#endif
