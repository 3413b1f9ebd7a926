/*
 * claim.h: a ring file is one master's alone. Two that shared it would take each other's wake-ups away, give
 * it two sizes, and replace it under one another; who streams into it is only the last of it.
 *
 * The claim is a lock of the file `<ring>.lock`, not of the ring's own, which may be replaced at any time.
 * The kernel gives it back when the process ends, however that ends; a forked process has no part in it.
 */
#ifndef CHANGEFEED_MASTER_CLAIM_H
#define CHANGEFEED_MASTER_CLAIM_H

#include <stdbool.h>

/*
 * Claims the ring until this process ends. Where another has it, tries for `patience_ms` (blocks for that
 * long at most). False: the log has said whose it is, or why it cannot be claimed.
 */
bool claim_ring(const char *ring_file, unsigned patience_ms);

#endif
