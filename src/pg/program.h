/*
 * program.h: starts the program pg_changefeed as a child of the calling process.
 *
 * The child's standard input is a pipe, its lifeline: nothing is ever written to it, and the program ends
 * itself when it reads the end of it. So it dies with the launcher however that dies. The child is the leader
 * of a process group of its own, because the postmaster sends its signals to the launcher's whole group, and
 * it begins with SIGHUP ignored, so that a reload cannot kill it before it has installed its handler. Its
 * standard error is the server's.
 */
#ifndef CHANGEFEED_PG_PROGRAM_H
#define CHANGEFEED_PG_PROGRAM_H

#include "postgres.h"

/* The program's exit code for a configuration that is wrong: EX_CONFIG of sysexits.h. */
enum { PROGRAM_EXIT_CONFIG = 78 };

struct program {
	pid_t pid;
	int lifeline; /* the write end */
};

/*
 * Starts it with what the settings say. Does not wait for it to be ready. Returns false, *ret_program
 * untouched, if it cannot be started; the server's log says why then. Leaves palloc'd memory in the current
 * context.
 */
bool program_start(struct program *ret_program);

#endif
