/* log.c: what a line of the log looks like, for whoever reads it beside PostgreSQL's own. */
#include "tap.h"

#include <errno.h>
#include <regex.h>
#include <unistd.h>

#include "log.h"

static int log_end; /* where standard error can be read */

/* The lines since the last call. */
static const char *lines(void)
{
	static char text[8192];
	ssize_t size = read(log_end, text, sizeof(text) - 1);
	text[size > 0 ? size : 0] = '\0';
	return text;
}

static bool matches(const char *text, const char *format, int pid)
{
	char pattern[256];
	regex_t regex;
	snprintf(pattern, sizeof(pattern), format, pid);
	if (regcomp(&regex, pattern, REG_EXTENDED | REG_NOSUB) != 0)
		return false;
	bool found = regexec(&regex, text, 0, NULL, 0) == 0;
	regfree(&regex);
	return found;
}

int main(void)
{
	int ends[2], terminal = dup(STDERR_FILENO);
	char long_text[4096];

	if (pipe(ends) != 0 || dup2(ends[1], STDERR_FILENO) < 0)
		return 1;
	log_end = ends[0];
	log_open("worker 3");

	errno = ENOENT;
	log_line(LOG_LEVEL_WARNING, "one %s,\r\nand %d", "thing", 2);
	int kept = errno;
	ok(matches(lines(),
			   "^20[0-9]{2}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}\\.[0-9]{3} UTC \\[%d\\] "
			   "pg_changefeed\\[worker 3\\]: WARNING: one thing,  and 2\n$",
			   getpid()),
	   "time, process, level and text in one line");
	is_u64((uint64_t)kept, ENOENT, "errno is kept");

	memset(long_text, 'x', sizeof(long_text) - 1);
	long_text[sizeof(long_text) - 1] = '\0';
	log_line(LOG_LEVEL_INFO, "%s", long_text);
	const char *cut = lines();
	ok(strlen(cut) < 2100 && matches(cut, "\\[%d\\].*: LOG: x+\n$", getpid()),
	   "a long text is cut, the line is whole");

	dup2(terminal, STDERR_FILENO);
	return tap_end();
}
