/* log.c: see log.h. */
#include "log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { LINE_MAX_SIZE = 2048 };

static const char *log_process = "main";

void log_open(const char *process)
{
	log_process = process;
}

static const char *level_name(enum log_level level)
{
	switch (level) {
	case LOG_LEVEL_INFO:
		return "LOG";
	case LOG_LEVEL_WARNING:
		return "WARNING";
	case LOG_LEVEL_ERROR:
		return "ERROR";
	}
	return "LOG";
}

/* Returns its length. */
static size_t begin_line(char *line, size_t size, enum log_level level)
{
	struct timespec now;
	struct tm day;
	char seconds[sizeof("2026-11-29 19:27:16")];

	clock_gettime(CLOCK_REALTIME, &now);
	strftime(seconds, sizeof(seconds), "%Y-%m-%d %H:%M:%S", gmtime_r(&now.tv_sec, &day));
	return (size_t)snprintf(line, size, "%s.%03ld UTC [%d] pg_changefeed[%s]: %s: ", seconds,
							now.tv_nsec / 1000000, (int)getpid(), log_process, level_name(level));
}

void log_line(enum log_level level, const char *format, ...)
{
	int saved_errno = errno;
	char line[LINE_MAX_SIZE];
	size_t start = begin_line(line, sizeof(line), level);
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(line + start, sizeof(line) - start - 1, format, arguments);
	va_end(arguments);

	size_t size = strlen(line);
	for (size_t i = start; i < size; i++) {
		if ((unsigned char)line[i] < ' ')
			line[i] = ' ';
	}
	line[size++] = '\n';
	if (write(STDERR_FILENO, line, size) < 0) {
		/* there is nowhere left to say so */
	}
	errno = saved_errno;
}
