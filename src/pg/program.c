/*
 * program.c: finds the program, makes its command line, forks and executes it.
 *
 * Data in: the settings, and where this server listens. Data out: a child process. Invariants: nothing secret
 * is in the command line, which every user of the machine can read: changefeed.conninfo travels in the
 * environment. The child holds none of the server's files and none of its signal handlers. It deliberately
 * does not watch the child.
 */
#include "postgres.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "miscadmin.h"
#include "nodes/pg_list.h"
#include "port.h"
#include "postmaster/postmaster.h"
#include "storage/fd.h"
#include "utils/varlena.h"

#include "pg/program.h"
#include "pg/settings.h"

#define CONNINFO_VARIABLE "PG_CHANGEFEED_CONNINFO"

enum { ARGUMENTS_MAX = 16 };

/* It is installed beside the server itself. */
static char *program_path(void)
{
	char directory[MAXPGPATH];

	strlcpy(directory, my_exec_path, sizeof(directory));
	get_parent_directory(directory);
	return psprintf("%s/pg_changefeed", directory);
}

/* Where this server is reached: its first Unix socket, as libpq wants it, an absolute path or @abstract. */
static char *server_host(void)
{
	char *directories = pstrdup(Unix_socket_directories);
	List *list = NIL;
	char *first;

	if (!SplitDirectoriesString(directories, ',', &list) || list == NIL)
		return pstrdup("localhost");
	first = linitial(list);
	return first[0] == '@' || is_absolute_path(first) ? first : psprintf("%s/%s", DataDir, first);
}

static void make_arguments(char *path, const char *ring_path, char *ret_arguments[ARGUMENTS_MAX])
{
	int count = 0;

	ret_arguments[count++] = path;
	if (setting_conninfo[0] == '\0') {
		ret_arguments[count++] = psprintf("--dbname=%s", setting_database);
		ret_arguments[count++] = psprintf("--host=%s", server_host());
		ret_arguments[count++] = psprintf("--port=%d", PostPortNumber);
	}
	ret_arguments[count++] = psprintf("--slot=%s", setting_slot);
	ret_arguments[count++] = psprintf("--publication=%s", setting_publication);
	ret_arguments[count++] = psprintf("--ring-file=%s", ring_path);
	ret_arguments[count++] = psprintf("--ring-size=%dMB", setting_ring_size_mb);
	ret_arguments[count++] = psprintf("--config=%s", setting_config_file);
	ret_arguments[count++] = pstrdup("--launched");
	ret_arguments[count] = NULL;
}

static void set_environment(void)
{
	if (setting_conninfo[0] == '\0')
		unsetenv(CONNINFO_VARIABLE);
	else
		setenv(CONNINFO_VARIABLE, setting_conninfo, 1);
}

/*
 * The ring lives in the data directory, where it has the right owner and moves with the server. A base backup
 * copies it. That costs its size and nothing else: the ring names the system, timeline and slot that it
 * belongs to, slots are not part of a backup, and so the feed of a restored server finds a ring of another
 * history and begins anew.
 */
static bool make_ring_directory(const char *ring_path)
{
	char directory[MAXPGPATH];

	strlcpy(directory, ring_path, sizeof(directory));
	get_parent_directory(directory);
	if (MakePGDirectory(directory) == 0 || errno == EEXIST)
		return true;
	ereport(LOG, (errcode_for_file_access(), errmsg("could not create directory \"%s\": %m", directory),
				  errhint("It is the directory of changefeed.ring_file.")));
	return false;
}

/* Closes all but standard input, output and error. */
static void close_inherited_files(void)
{
	DIR *files = opendir("/proc/self/fd");
	struct dirent *entry;

	if (files == NULL)
		return;
	while ((entry = readdir(files)) != NULL) {
		int fd = atoi(entry->d_name);
		if (fd > STDERR_FILENO && fd != dirfd(files))
			close(fd);
	}
	closedir(files);
}

/* In the child. Signals are blocked until the handlers are gone: they would act on the launcher's shared
 * memory. */
_Noreturn static void execute(char *const arguments[], int lifeline)
{
	sigset_t none;

	setpgid(0, 0);
	for (int signal_number = 1; signal_number < NSIG; signal_number++)
		signal(signal_number, signal_number == SIGHUP ? SIG_IGN : SIG_DFL);
	if (dup2(lifeline, STDIN_FILENO) < 0)
		_exit(126);
	close_inherited_files();
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	execv(arguments[0], arguments);
	_exit(127);
}

static bool fork_program(char *const arguments[], struct program *ret_program)
{
	sigset_t all, before;
	int ends[2];
	pid_t pid;

	if (pipe2(ends, O_CLOEXEC) != 0) {
		ereport(LOG, (errmsg("could not create a pipe for pg_changefeed: %m")));
		return false;
	}
	fflush(NULL);
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &before);
	pid = fork();
	if (pid == 0)
		execute(arguments, ends[0]);
	sigprocmask(SIG_SETMASK, &before, NULL);
	close(ends[0]);
	if (pid < 0) {
		ereport(LOG, (errmsg("could not fork a process for pg_changefeed: %m")));
		close(ends[1]);
		return false;
	}
	*ret_program = (struct program){.pid = pid, .lifeline = ends[1]};
	return true;
}

bool program_start(struct program *ret_program)
{
	char *path = program_path();
	char *ring_path = settings_ring_path();
	char *arguments[ARGUMENTS_MAX];

	if (access(path, X_OK) != 0) {
		ereport(LOG, (errcode_for_file_access(), errmsg("could not execute \"%s\": %m", path),
					  errhint("Run \"make install\" of pg_changefeed for this PostgreSQL.")));
		return false;
	}
	if (!make_ring_directory(ring_path))
		return false;
	make_arguments(path, ring_path, arguments);
	set_environment();
	return fork_program(arguments, ret_program);
}
