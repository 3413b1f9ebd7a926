/* master.c: see master.h. */
#include "master/master.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/ring/ring_file.h"
#include "feed/feed.h"
#include "http/routes.h"
#include "http/server.h"
#include "log.h"
#include "master/listeners.h"
#include "master/processes.h"
#include "master/ring_keeper.h"

enum {
	PATIENCE_MS = 3000, /* for sockets, and the ring, of a master that was killed a moment ago */
	TICK_MS = 1000,
};

struct master {
	const struct options *options;
	struct conf_source config;
	struct conf_source candidate; /* what the checker looks at */
	struct outline outline;
	uint64_t files; /* outline_files() of it when the workers were about to read them */
	struct tls_ticket_keys ticket_keys;
	struct quota *quota; /* shared by all workers, also over a reload */
	struct listeners listeners;
	struct ring *ring;
	struct ring_live *live;
	struct processes processes;
	int wake_fds[LIVE_WORKERS_MAX];
	int refresh_fd;
	int signal_fd;
	bool stopping;
	bool reload_wanted; /* a SIGHUP came while a checker was at work */
};

/* ---- children */

static int *worker_sockets(struct master *master, unsigned listener)
{
	int *sockets = calloc(master->outline.listener_count, sizeof(*sockets));
	for (size_t i = 0; sockets != NULL && i < master->outline.listener_count; i++)
		sockets[i] = listeners_socket(&master->listeners, i, listener);
	return sockets;
}

/* In the child. */
static int run_worker(struct master *master, const struct process *process)
{
	int *sockets = worker_sockets(master, process->listener);
	struct server_options options = {.number = process->number,
									 .config = &master->config,
									 .ticket_keys = &master->ticket_keys,
									 .listeners = sockets,
									 .worker_count = master->outline.worker_count,
									 .quota = master->quota,
									 .ring_file = master->options->ring_file,
									 .publication = master->options->publication,
									 .wake_fd = master->wake_fds[process->number],
									 .refresh_fd = master->refresh_fd};
	static char name[16]; /* borrowed by the log */
	snprintf(name, sizeof(name), "worker %u", process->number);
	log_open(name);
	if (sockets == NULL) {
		log_line(LOG_LEVEL_ERROR, "out of memory");
		return 1;
	}
	listeners_keep_worker(&master->listeners, process->listener);
	return server_run(&options);
}

/* In the child. */
static int run_feed(struct master *master)
{
	struct feed_options options = {.conninfo = master->options->conninfo,
								   .slot = master->options->slot,
								   .publication = master->options->publication,
								   .ring_file = master->options->ring_file,
								   .refresh_fd = master->refresh_fd};
	listeners_close(&master->listeners, false);
	for (int i = 0; i < LIVE_WORKERS_MAX; i++)
		options.worker_fds[i] = master->wake_fds[i];
	return feed_run(&options);
}

/* Says why, in the log and where status() finds it. */
static void refuse_candidate(struct master *master, struct buffer *error)
{
	const char *text = buffer_message(error);
	log_line(LOG_LEVEL_ERROR, "%s; the configuration of before stays in force", text);
	live_message_set(&master->live->config_message, text);
}

/*
 * In a child, so that nothing in the file can hurt the master: what a worker would say about it. Returns what
 * to exit with; *ret_error is set with EX_CONFIG.
 */
static int check(struct master *master, const struct conf_source *source, struct buffer *ret_error)
{
	struct conf *conf = conf_load(source, &routes_hooks, &master->ticket_keys, ret_error);
	if (conf == NULL)
		return EX_CONFIG;
	conf_free(conf);
	return 0;
}

/* What such a child has found out: 0; EX_CONFIG, about which it has said more; or 1 if it did not get so far. */
static int check_result(const struct master *master, int status)
{
	if (WIFEXITED(status) && (WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == EX_CONFIG))
		return WEXITSTATUS(status);
	log_line(LOG_LEVEL_ERROR, "looking at %s failed: the process %s", master->options->config,
			 process_end_text(status));
	return 1;
}

/* In the child. */
static int run_checker(struct master *master)
{
	struct buffer error = {0};
	listeners_close(&master->listeners, false);
	int result = check(master, &master->candidate, &error);
	if (result != 0)
		refuse_candidate(master, &error);
	return result;
}

/* In the child: the master's own descriptors are none of its business. */
static int run_child(struct master *master, const struct process *process)
{
	close(master->signal_fd);
	switch (process->kind) {
	case PROCESS_FEED:
		return run_feed(master);
	case PROCESS_WORKER:
		return run_worker(master, process);
	case PROCESS_CHECKER:
		return run_checker(master);
	case PROCESS_NONE:
		break;
	}
	return 1;
}

static void start_process(struct master *master, struct process *process)
{
	int64_t now_ms = clock_monotonic_ms();
	pid_t pid = process_fork();

	if (pid == 0)
		exit(run_child(master, process));
	process->started_ms = now_ms;
	if (pid < 0) {
		log_line(LOG_LEVEL_ERROR, "cannot fork: %s", strerror(errno));
		process_schedule(process, now_ms);
		return;
	}
	process->pid = pid;
	if (process->kind == PROCESS_WORKER)
		live_figure_set(&master->live->workers[process->number].pid, pid);
	if (process->kind == PROCESS_FEED)
		live_figure_set(&master->live->feed_pid, pid);
}

static void start_due(struct master *master)
{
	int64_t now_ms = clock_monotonic_ms();
	for (int i = 0; i < PROCESSES_MAX; i++) {
		struct process *process = &master->processes.list[i];
		if (process->kind != PROCESS_NONE && process->pid == 0 && process->start_ms <= now_ms)
			start_process(master, process);
	}
}

/* A number that no worker has; there is one, see make_room(). */
static unsigned free_number(const struct master *master)
{
	bool used[LIVE_WORKERS_MAX] = {false};
	unsigned number = 0;

	for (int i = 0; i < PROCESSES_MAX; i++) {
		if (master->processes.list[i].kind == PROCESS_WORKER)
			used[master->processes.list[i].number] = true;
	}
	while (used[number])
		number++;
	return number;
}

static uint64_t connections_of(const struct master *master, const struct process *worker)
{
	return live_figure(&master->live->workers[worker->number].connections);
}

/* The draining worker that the fewest clients would miss. */
static struct process *least_missed(struct master *master)
{
	struct process *least = NULL;
	for (int i = 0; i < PROCESSES_MAX; i++) {
		struct process *process = &master->processes.list[i];
		if (process->kind == PROCESS_WORKER && process->draining && !process->ending &&
			(least == NULL || connections_of(master, process) < connections_of(master, least)))
			least = process;
	}
	return least;
}

/* Ends as many draining workers as have to give way to the ones that are to be started. */
static void make_room(struct master *master)
{
	unsigned room = LIVE_WORKERS_MAX;
	for (int i = 0; i < PROCESSES_MAX; i++)
		room -= master->processes.list[i].kind == PROCESS_WORKER;
	for (; room < master->outline.worker_count; room++)
		least_missed(master)->ending = true;
	processes_end(&master->processes);
}

/* A worker's gauges die with it; its counters stay, so that sums never go back. */
static void forget_worker(struct master *master, unsigned number)
{
	struct live_worker *figures = &master->live->workers[number];
	live_figure_set(&figures->pid, 0);
	live_figure_set(&figures->sleeping, 0);
	live_figure_set(&figures->connections, 0);
	live_figure_set(&figures->streams, 0);
	live_figure_set(&figures->polls_waiting, 0);
	quota_forget_worker(master->quota, number);
}

static void start_workers(struct master *master)
{
	make_room(master);
	for (unsigned i = 0; i < master->outline.worker_count; i++) {
		unsigned number = free_number(master);
		struct process *process = processes_add(&master->processes, PROCESS_WORKER);
		forget_worker(master, number);
		process->number = number;
		process->listener = i;
		start_process(master, process);
	}
}

/* ---- reload */

/*
 * Whether workers would do nothing else by this file than they do: then they stay, because a server is
 * reloaded for many reasons that are none of theirs. A log of accesses has to be opened again: it may have been
 * rotated away.
 */
static bool is_in_force(const struct master *master, const struct conf_source *source)
{
	return bytes_equal(buffer_bytes(&source->text), buffer_bytes(&master->config.text)) &&
		   !master->outline.logs_access && outline_files(&master->outline) == master->files;
}

/* SIGHUP: another process looks first, so that nothing in the file can hurt this one. */
static void begin_reload(struct master *master)
{
	struct buffer error = {0};
	struct process *checker;

	if (processes_find_kind(&master->processes, PROCESS_CHECKER) != NULL) {
		master->reload_wanted = true;
		return;
	}
	master->reload_wanted = false;
	if (!conf_source_read(master->options->config, &master->candidate, &error)) {
		refuse_candidate(master, &error);
	} else if (is_in_force(master, &master->candidate)) {
		conf_source_free(&master->candidate);
		live_message_set(&master->live->config_message, "");
		log_line(LOG_LEVEL_INFO, "%s and the files that it names are as before", master->config.path);
	} else if ((checker = processes_add(&master->processes, PROCESS_CHECKER)) == NULL) {
		log_line(LOG_LEVEL_ERROR, "too many processes to reload now: send SIGHUP again later");
		conf_source_free(&master->candidate);
	} else {
		start_process(master, checker);
	}
	buffer_free(&error);
}

/* They keep their streams and take no new ones. */
static void drain_workers(struct master *master)
{
	for (int i = 0; i < PROCESSES_MAX; i++) {
		struct process *process = &master->processes.list[i];
		if (process->kind != PROCESS_WORKER)
			continue;
		process->draining = true;
		if (process->pid > 0)
			kill(process->pid, SIGUSR2);
		else
			process->kind = PROCESS_NONE;
	}
}

/* The candidate is right: new workers serve by it, the old ones keep their streams and take no new ones. */
static void apply_candidate(struct master *master)
{
	struct buffer error = {0};
	struct outline outline = {0};
	struct tls_ticket_keys keys;

	if (!conf_read_outline(&master->candidate, &outline, &error) ||
		!listeners_update(&master->listeners, &outline, 0, &error)) {
		refuse_candidate(master, &error);
		buffer_free(&error);
		outline_free(&outline);
		conf_source_free(&master->candidate);
		return;
	}
	conf_source_free(&master->config);
	outline_free(&master->outline);
	master->config = master->candidate;
	master->outline = outline;
	master->files = outline_files(&outline);
	if (tls_ticket_keys_generate(&keys))
		master->ticket_keys = keys;
	drain_workers(master);
	start_workers(master);
	live_message_set(&master->live->config_message, "");
	live_figure_add(&master->live->reloads_total, 1);
	log_line(LOG_LEVEL_INFO, "took over %s", master->config.path);
}

/* ---- ends */

static void on_worker_end(struct master *master, struct process *process, int status)
{
	forget_worker(master, process->number);
	if (process->draining) {
		if (status != 0)
			log_line(LOG_LEVEL_WARNING, "worker %u, which only kept its streams, %s", process->number,
					 process_end_text(status));
		process->kind = PROCESS_NONE;
		return;
	}
	live_figure_add(&master->live->worker_deaths_total, 1);
	process_schedule(process, clock_monotonic_ms());
	log_line(LOG_LEVEL_WARNING, "worker %u %s; starting another one", process->number,
			 process_end_text(status));
}

/* What is said of a feed that cannot speak for itself: before it has opened the ring, and after its end. */
static void set_feed_stopped(struct master *master, const char *message)
{
	live_figure_set(&master->live->feed_pid, 0);
	live_figure_set(&master->live->feed_state, FEED_STOPPED);
	live_figure_set(&master->live->feed_state_since_us, clock_realtime_us());
	live_message_set(&master->live->message, message);
}

static void on_feed_end(struct master *master, struct process *process, int status)
{
	char message[LIVE_MESSAGE_SIZE];

	snprintf(message, sizeof(message), "the feed %s; it is started again", process_end_text(status));
	log_line(LOG_LEVEL_WARNING, "%s", message);
	set_feed_stopped(master, message);
	live_figure_add(&master->live->feed_deaths_total, 1);
	process_schedule(process, clock_monotonic_ms());
}

static void on_checker_end(struct master *master, struct process *process, int status)
{
	process->kind = PROCESS_NONE;
	if (check_result(master, status) == 0)
		apply_candidate(master);
	else
		conf_source_free(&master->candidate);
	if (master->reload_wanted)
		begin_reload(master);
}

static void reap(struct master *master)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		struct process *process = processes_find(&master->processes, pid);
		if (process == NULL)
			continue;
		if (process->kind == PROCESS_WORKER)
			on_worker_end(master, process, status);
		else if (process->kind == PROCESS_FEED)
			on_feed_end(master, process, status);
		else if (process->kind == PROCESS_CHECKER)
			on_checker_end(master, process, status);
	}
}

/* ---- setting up */

static bool open_descriptors(struct master *master)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN); /* whoever reads what is logged may go away */
	signal(SIGHUP, SIG_DFL);  /* our launcher ignores it on our behalf until here */
	signal(SIGCHLD, SIG_DFL); /* if who started us ignored it, nothing would be told of children */
	master->signal_fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	master->refresh_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	bool opened = master->signal_fd >= 0 && master->refresh_fd >= 0;
	for (int i = 0; i < LIVE_WORKERS_MAX; i++) {
		master->wake_fds[i] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
		opened = opened && master->wake_fds[i] >= 0;
	}
	if (!opened)
		log_line(LOG_LEVEL_ERROR, "cannot open descriptors: %s", strerror(errno));
	return opened;
}

/* The first file: opens the sockets that it names, too, for which it waits PATIENCE_MS at most. */
static bool read_and_listen(struct master *master)
{
	struct buffer error = {0};
	bool right = conf_source_read(master->options->config, &master->config, &error) &&
				 conf_read_outline(&master->config, &master->outline, &error) &&
				 listeners_update(&master->listeners, &master->outline, PATIENCE_MS, &error);
	if (!right)
		log_line(LOG_LEVEL_ERROR, "%s", buffer_message(&error));
	buffer_free(&error);
	master->files = right ? outline_files(&master->outline) : 0;
	return right;
}

/* Returns 0, or what to exit with: EX_CONFIG only if it is the file that is wrong. */
static int first_check(struct master *master)
{
	int status = -1;
	pid_t pid = process_fork();

	if (pid == 0) {
		struct buffer error = {0};
		int result = check(master, &master->config, &error);
		if (result != 0)
			log_line(LOG_LEVEL_ERROR, "%s", buffer_message(&error));
		_exit(result);
	}
	if (pid < 0) {
		log_line(LOG_LEVEL_ERROR, "cannot fork: %s", strerror(errno));
		return 1;
	}
	waitpid(pid, &status, 0);
	return check_result(master, status);
}

static void set_live(struct master *master)
{
	master->live = ring_file_live(master->ring);
	for (unsigned number = 0; number < LIVE_WORKERS_MAX; number++)
		forget_worker(master, number);
	live_message_set(&master->live->config_message, "");
	set_feed_stopped(master, "starting");
	live_figure_set(&master->live->master_pid, getpid());
	live_figure_set(&master->live->started_us, clock_realtime_us());
}

/* ---- running */

static void on_signals(struct master *master)
{
	struct signalfd_siginfo info;

	while (read(master->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
		if (info.ssi_signo == SIGHUP)
			begin_reload(master);
		else if (info.ssi_signo != SIGCHLD)
			master->stopping = true;
	}
	/* a signal to all of us, as of a terminal or of systemd, has ended them as well: nobody is missed */
	if (!master->stopping)
		reap(master);
}

static void end_children(struct master *master)
{
	if (processes_find_kind(&master->processes, PROCESS_CHECKER) != NULL) {
		master->reload_wanted = true; /* if the ring alone is begun again */
		conf_source_free(&master->candidate);
	}
	for (int i = 0; i < PROCESSES_MAX; i++)
		master->processes.list[i].ending = true;
	processes_end(&master->processes);
	memset(&master->processes, 0, sizeof(master->processes));
}

/* Watches until it is time to end (true), or until the ring's file cannot be gone on with (false). */
static bool watch(struct master *master)
{
	struct pollfd fds[] = {{.fd = master->signal_fd, .events = POLLIN},
						   {.fd = master->options->launched ? STDIN_FILENO : -1, .events = POLLIN}};

	for (;;) {
		char byte;
		start_due(master);
		int wait = processes_next_start(&master->processes, clock_monotonic_ms());
		poll(fds, 2, wait < 0 || wait > TICK_MS ? TICK_MS : wait);
		if (!ring_keeper_is_sound(master->ring, master->options->ring_file))
			return false;
		on_signals(master);
		if ((fds[1].revents & (POLLIN | POLLHUP | POLLERR)) != 0 && read(STDIN_FILENO, &byte, 1) <= 0)
			master->stopping = true;
		if (master->stopping)
			return true;
	}
}

/* Nobody is here any more. */
static void clear_live(struct master *master)
{
	set_feed_stopped(master, "stopped");
	live_figure_set(&master->live->master_pid, 0);
	for (unsigned number = 0; number < LIVE_WORKERS_MAX; number++)
		forget_worker(master, number);
}

/* One life of a ring. Returns -1 to begin another one, else the exit code. */
static int serve_ring(struct master *master)
{
	master->ring = ring_keeper_open(master->options->ring_file, master->options->ring_size);
	if (master->ring == NULL)
		return 1;
	if (master->options->launched)
		ring_keeper_share(master->options->ring_file);
	set_live(master);
	processes_add(&master->processes, PROCESS_FEED);
	start_workers(master);
	if (master->reload_wanted)
		begin_reload(master);
	bool ended = watch(master);
	end_children(master);
	if (ended)
		clear_live(master);
	ring_file_close(master->ring);
	return ended ? 0 : -1;
}

int master_run(const struct options *options)
{
	static struct master the_master; /* and not of the stack: what it holds at the end is no leak */
	struct master *master = &the_master;

	master->options = options;
	if (!open_descriptors(master))
		return 1;
	if (!tls_ticket_keys_generate(&master->ticket_keys)) {
		log_line(LOG_LEVEL_ERROR, "there is no randomness for the keys of TLS sessions");
		return 1;
	}
	master->quota = quota_create();
	if (master->quota == NULL) {
		log_line(LOG_LEVEL_ERROR, "cannot get memory that workers share: %s", strerror(errno));
		return 1;
	}
	int result = read_and_listen(master) ? first_check(master) : EX_CONFIG;
	if (result == 0 && !ring_keeper_claim(options->ring_file, PATIENCE_MS))
		result = 1;
	if (result != 0) {
		listeners_close(&master->listeners, true);
		return result;
	}
	log_line(LOG_LEVEL_INFO, "pg_changefeed " PG_CHANGEFEED_VERSION " with %u worker%s, listening on %s%s",
			 master->outline.worker_count, master->outline.worker_count == 1 ? "" : "s",
			 master->outline.listeners[0].name, master->outline.listener_count > 1 ? " and others" : "");
	do {
		result = serve_ring(master);
	} while (result < 0);
	listeners_close(&master->listeners, true);
	log_line(LOG_LEVEL_INFO, "ended");
	return result;
}
