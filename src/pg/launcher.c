/*
 * launcher.c: the background worker that keeps the program running while changefeed.enabled is on.
 *
 * Data in: signals (SIGHUP, SIGTERM, SIGCHLD), the clock, the settings. Data out: one child process, started
 * again with a growing delay when it ends, told of reloads by SIGHUP and to end by SIGTERM. Invariants: at
 * most one child at a time; every change of state goes through launcher_transition(); the worker waits in
 * WaitLatch() and nowhere else. It connects to no database, and uses of shared memory only its latch.
 */
#include "postgres.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "miscadmin.h"
#include "pgstat.h"
#include "port.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "utils/guc.h"
#include "utils/memutils.h"

#include "core/clock.h"
#include "pg/launcher.h"
#include "pg/program.h"
#include "pg/settings.h"

enum {
	RETRY_FIRST_MS = 100, /* doubles with each retry */
	RETRY_LAST_MS = 10000,
	RETRY_HAND_MS = 30000, /* what is wrong needs a hand, and a hand ends its work with a reload */
	STABLE_MS = 10000,     /* a program that ran so long begins with RETRY_FIRST_MS again */
	STOP_MS = 3000,        /* from SIGTERM to SIGKILL */
	WORKER_RESTART_S = 1,
};

enum program_state {
	PROGRAM_OFF,      /* not wanted                                   -> DUE */
	PROGRAM_DUE,      /* to be started at the deadline                -> RUNNING, OFF, DUE */
	PROGRAM_RUNNING,  /*                                              -> DUE, STOPPING */
	PROGRAM_STOPPING, /* SIGTERM was sent, SIGKILL at the deadline    -> OFF */
};

struct launcher {
	enum program_state state;
	int64 deadline_ms;
	int64 started_ms;
	bool reloaded; /* since then */
	int64 retry_ms;
	struct program program; /* RUNNING and STOPPING */
};

PGDLLEXPORT void pg_changefeed_launcher_main(Datum argument);

static void launcher_transition(struct launcher *launcher, enum program_state next)
{
	static const char *const names[] = {"off", "due", "running", "stopping"};
	static const unsigned successors[] PG_USED_FOR_ASSERTS_ONLY = {
		[PROGRAM_OFF] = 1 << PROGRAM_DUE,
		[PROGRAM_DUE] = 1 << PROGRAM_RUNNING | 1 << PROGRAM_OFF | 1 << PROGRAM_DUE,
		[PROGRAM_RUNNING] = 1 << PROGRAM_DUE | 1 << PROGRAM_STOPPING,
		[PROGRAM_STOPPING] = 1 << PROGRAM_OFF,
	};

	Assert(successors[launcher->state] & 1 << next);
	elog(DEBUG1, "pg_changefeed: %s -> %s", names[launcher->state], names[next]);
	launcher->state = next;
}

static void set_due(struct launcher *launcher, int64 delay_ms)
{
	launcher->deadline_ms = clock_monotonic_ms() + delay_ms;
	launcher_transition(launcher, PROGRAM_DUE);
}

static int64 next_retry(struct launcher *launcher)
{
	int64 delay_ms = launcher->retry_ms;

	launcher->retry_ms = Min(2 * delay_ms, RETRY_LAST_MS);
	return delay_ms;
}

static void start_program(struct launcher *launcher)
{
	if (!program_start(&launcher->program)) {
		set_due(launcher, RETRY_HAND_MS);
		return;
	}
	launcher->started_ms = clock_monotonic_ms();
	launcher->reloaded = false;
	launcher_transition(launcher, PROGRAM_RUNNING);
	ereport(LOG, (errmsg("started pg_changefeed with PID %d", (int)launcher->program.pid)));
}

static void stop_program(struct launcher *launcher)
{
	kill(launcher->program.pid, SIGTERM);
	launcher->deadline_ms = clock_monotonic_ms() + STOP_MS;
	launcher_transition(launcher, PROGRAM_STOPPING);
}

static void kill_program(struct launcher *launcher)
{
	ereport(LOG,
			(errmsg("pg_changefeed with PID %d does not end: it is killed", (int)launcher->program.pid)));
	kill(launcher->program.pid, SIGKILL);
	launcher->deadline_ms = clock_monotonic_ms() + STOP_MS;
}

/* The program ended although nobody told it to. */
static void retry_program(struct launcher *launcher, int status)
{
	if (WIFEXITED(status) && WEXITSTATUS(status) == PROGRAM_EXIT_CONFIG && launcher->reloaded) {
		/* the hand came while it was ending, and it may have read the old file */
		set_due(launcher, 0);
		return;
	}
	if (WIFEXITED(status) && WEXITSTATUS(status) == PROGRAM_EXIT_CONFIG) {
		ereport(LOG, (errmsg("pg_changefeed does not run: its configuration is wrong"),
					  errdetail("Its own message is in the log above."),
					  errhint("Correct it, then reload: SELECT pg_reload_conf().")));
		set_due(launcher, RETRY_HAND_MS);
		return;
	}
	if (clock_monotonic_ms() - launcher->started_ms >= STABLE_MS)
		launcher->retry_ms = RETRY_FIRST_MS;
	ereport(LOG, (errmsg("pg_changefeed with PID %d ended, it is started again in %d ms",
						 (int)launcher->program.pid, (int)launcher->retry_ms),
				  errdetail_internal("%s", wait_result_to_str(status))));
	set_due(launcher, next_retry(launcher));
}

static void reap_program(struct launcher *launcher)
{
	int status;

	if (waitpid(launcher->program.pid, &status, WNOHANG) != launcher->program.pid)
		return;
	close(launcher->program.lifeline);
	if (launcher->state == PROGRAM_RUNNING) {
		retry_program(launcher, status);
	} else {
		ereport(LOG, (errmsg("stopped pg_changefeed with PID %d", (int)launcher->program.pid)));
		launcher_transition(launcher, PROGRAM_OFF);
	}
}

static void reload(struct launcher *launcher)
{
	ProcessConfigFile(PGC_SIGHUP);
	if (launcher->state == PROGRAM_RUNNING) {
		launcher->reloaded = true;
		kill(launcher->program.pid, SIGHUP);
	} else if (launcher->state == PROGRAM_DUE) {
		launcher->deadline_ms = clock_monotonic_ms();
	}
}

/* Takes the steps that are possible now. */
static void advance(struct launcher *launcher)
{
	bool wanted = setting_enabled && !ShutdownRequestPending;

	if (launcher->state == PROGRAM_RUNNING || launcher->state == PROGRAM_STOPPING)
		reap_program(launcher);
	if (launcher->state == PROGRAM_OFF && wanted) {
		launcher->retry_ms = RETRY_FIRST_MS;
		set_due(launcher, 0);
	}
	if (launcher->state == PROGRAM_DUE && !wanted)
		launcher_transition(launcher, PROGRAM_OFF);
	if (launcher->state == PROGRAM_DUE && clock_monotonic_ms() >= launcher->deadline_ms)
		start_program(launcher);
	if (launcher->state == PROGRAM_RUNNING && !wanted)
		stop_program(launcher);
	if (launcher->state == PROGRAM_STOPPING && clock_monotonic_ms() >= launcher->deadline_ms)
		kill_program(launcher);
}

/* Until a signal comes, or the deadline of a state that has one. */
static void wait_for_event(const struct launcher *launcher)
{
	bool timed = launcher->state == PROGRAM_DUE || launcher->state == PROGRAM_STOPPING;
	int events = WL_LATCH_SET | WL_EXIT_ON_PM_DEATH | (timed ? WL_TIMEOUT : 0);
	int64 timeout_ms = timed ? Max(launcher->deadline_ms - clock_monotonic_ms(), 0) : -1;

	WaitLatch(MyLatch, events, (long)timeout_ms, PG_WAIT_EXTENSION);
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
}

static void handle_child_signal(SIGNAL_ARGS)
{
	int saved_errno = errno;

	SetLatch(MyLatch);
	errno = saved_errno;
}

void pg_changefeed_launcher_main(Datum argument)
{
	struct launcher launcher = {.state = PROGRAM_OFF};
	MemoryContext step =
		AllocSetContextCreate(TopMemoryContext, "pg_changefeed launcher", ALLOCSET_SMALL_SIZES);

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, SignalHandlerForShutdownRequest);
	pqsignal(SIGCHLD, handle_child_signal);
	BackgroundWorkerUnblockSignals();
	MemoryContextSwitchTo(step);

	for (;;) {
		if (ConfigReloadPending) {
			ConfigReloadPending = false;
			reload(&launcher);
		}
		advance(&launcher);
		MemoryContextReset(step);
		if (ShutdownRequestPending && launcher.state == PROGRAM_OFF)
			break;
		wait_for_event(&launcher);
	}

	/*
	 * 1 and not 0: a worker that exits with 0 is never started again, and if it was not the server that is
	 * stopping but somebody's kill, nobody would read the slot from then on, and it would hold back WAL until
	 * the disk is full.
	 */
	proc_exit(1);
}

void launcher_register(void)
{
	BackgroundWorker worker = {
		.bgw_flags = BGWORKER_SHMEM_ACCESS,
		.bgw_start_time = BgWorkerStart_RecoveryFinished,
		.bgw_restart_time = WORKER_RESTART_S,
	};

	strlcpy(worker.bgw_name, "pg_changefeed launcher", BGW_MAXLEN);
	strlcpy(worker.bgw_type, "pg_changefeed launcher", BGW_MAXLEN);
	strlcpy(worker.bgw_library_name, "pg_changefeed", sizeof(worker.bgw_library_name));
	strlcpy(worker.bgw_function_name, "pg_changefeed_launcher_main", BGW_MAXLEN);
	RegisterBackgroundWorker(&worker);
}
