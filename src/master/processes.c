/* processes.c: see processes.h. */
#include "master/processes.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/clock.h"
#include "log.h"

enum {
	DELAY_FIRST_MS = 100,
	DELAY_MAX_MS = 5000,
	YOUNG_MS = 2000,
	END_MS = 1500, /* then whoever has not ended is killed */
	END_NAP_MS = 20,
};

struct process *processes_add(struct processes *processes, enum process_kind kind)
{
	for (int i = 0; i < PROCESSES_MAX; i++) {
		if (processes->list[i].kind == PROCESS_NONE) {
			processes->list[i] = (struct process){.kind = kind};
			return &processes->list[i];
		}
	}
	return NULL;
}

struct process *processes_find(struct processes *processes, pid_t pid)
{
	for (int i = 0; i < PROCESSES_MAX; i++) {
		if (processes->list[i].kind != PROCESS_NONE && processes->list[i].pid == pid)
			return &processes->list[i];
	}
	return NULL;
}

struct process *processes_find_kind(struct processes *processes, enum process_kind kind)
{
	for (int i = 0; i < PROCESSES_MAX; i++) {
		if (processes->list[i].kind == kind)
			return &processes->list[i];
	}
	return NULL;
}

static bool is_ending(const struct process *process)
{
	return process->kind != PROCESS_NONE && process->ending && process->pid > 0;
}

static void signal_ending(const struct processes *processes, int signal)
{
	for (int i = 0; i < PROCESSES_MAX; i++) {
		if (is_ending(&processes->list[i]))
			kill(processes->list[i].pid, signal);
	}
}

/* Forgets those that have ended. Returns whether there are others. */
static bool reap_ending(struct processes *processes)
{
	bool left = false;
	for (int i = 0; i < PROCESSES_MAX; i++) {
		struct process *process = &processes->list[i];
		int status = 0;
		if (!is_ending(process))
			continue;
		if (waitpid(process->pid, &status, WNOHANG) == 0) {
			left = true;
			continue;
		}
		if (WIFSIGNALED(status) && WTERMSIG(status) != SIGTERM && WTERMSIG(status) != SIGKILL)
			log_line(LOG_LEVEL_ERROR, "a process that was to end %s", process_end_text(status));
		process->kind = PROCESS_NONE;
	}
	return left;
}

void processes_end(struct processes *processes)
{
	int64_t deadline = clock_monotonic_ms() + END_MS;

	signal_ending(processes, SIGTERM);
	while (reap_ending(processes)) {
		if (clock_monotonic_ms() >= deadline)
			signal_ending(processes, SIGKILL);
		/* signals stay unread: what is to end may be the children alone, not the master */
		poll(NULL, 0, END_NAP_MS);
	}
}

void process_schedule(struct process *process, int64_t now_ms)
{
	process->pid = 0;
	if (now_ms - process->started_ms >= YOUNG_MS)
		process->delay_ms = 0;
	process->start_ms = now_ms + process->delay_ms;
	process->delay_ms = process->delay_ms == 0 ? DELAY_FIRST_MS : process->delay_ms * 2;
	if (process->delay_ms > DELAY_MAX_MS)
		process->delay_ms = DELAY_MAX_MS;
}

int processes_next_start(const struct processes *processes, int64_t now_ms)
{
	int next = -1;
	for (int i = 0; i < PROCESSES_MAX; i++) {
		const struct process *process = &processes->list[i];
		if (process->kind == PROCESS_NONE || process->pid != 0)
			continue;
		int wait = process->start_ms <= now_ms ? 0 : (int)(process->start_ms - now_ms);
		if (next < 0 || wait < next)
			next = wait;
	}
	return next;
}

pid_t process_fork(void)
{
	pid_t master = getpid();
	sigset_t drain;

	sigemptyset(&drain);
	sigaddset(&drain, SIGUSR2);
	sigprocmask(SIG_BLOCK, &drain, NULL);
	pid_t pid = fork();
	if (pid != 0)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != master)
		_exit(1);            /* it died before we asked to be told */
	signal(SIGHUP, SIG_IGN); /* for the master, though it may be sent to all that have the program's name */
	sigprocmask(SIG_SETMASK, &drain, NULL);
	return 0;
}

const char *process_end_text(int status)
{
	static char text[80];
	if (WIFSIGNALED(status))
		snprintf(text, sizeof(text), "was killed by signal %d (%s)", WTERMSIG(status),
				 strsignal(WTERMSIG(status)));
	else
		snprintf(text, sizeof(text), "exited with code %d", WEXITSTATUS(status));
	return text;
}
