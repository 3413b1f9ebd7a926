/*
 * processes.h: the children of the master: which there are, since when, and when to start one again.
 */
#ifndef CHANGEFEED_MASTER_PROCESSES_H
#define CHANGEFEED_MASTER_PROCESSES_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "core/ring/live.h"

enum process_kind {
	PROCESS_NONE,
	PROCESS_FEED,
	PROCESS_WORKER,
	PROCESS_CHECKER, /* looks at a changed h2o.conf and ends */
};

enum { PROCESSES_MAX = LIVE_WORKERS_MAX + 2 };

struct process {
	enum process_kind kind;
	pid_t pid;         /* 0: not running, to be started at start_ms */
	unsigned number;   /* PROCESS_WORKER: in live->workers */
	unsigned listener; /* PROCESS_WORKER: which of the sockets of each address is its own */
	bool draining;     /* PROCESS_WORKER: of an earlier configuration; not replaced when it ends */
	bool ending;       /* it was told to end, and is waited for */
	int64_t started_ms;
	int64_t start_ms;
	int64_t delay_ms; /* of the last restart: doubles while it keeps dying young */
};

struct processes {
	struct process list[PROCESSES_MAX];
};

/* A place for a new process, or NULL. */
struct process *processes_add(struct processes *processes, enum process_kind kind);
struct process *processes_find(struct processes *processes, pid_t pid);
struct process *processes_find_kind(struct processes *processes, enum process_kind kind);

/* Ends those that are marked as ending: kindly, and for good after a while. Blocks for that long at most. */
void processes_end(struct processes *processes);

/* Sets when a process that has died is to be started again: at once if it had lived for a while. */
void process_schedule(struct process *process, int64_t now_ms);

/* When the next process is to be started: milliseconds from now, -1: none. */
int processes_next_start(const struct processes *processes, int64_t now_ms);

/*
 * Forks. Returns the child's pid to the master, or -1 with errno, and 0 to the child, which the kernel kills
 * when the master dies. In the child SIGHUP is ignored, and of the signals only SIGUSR2 is blocked, which may
 * tell a worker to drain before it listens for that.
 */
pid_t process_fork(void);

/* Text for the log: "exited with code 1", "was killed by signal 9". Valid until the next call. */
const char *process_end_text(int status);

#endif
