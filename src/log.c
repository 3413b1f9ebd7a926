/*
 * log.c: see log.h.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "log.h"

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

void log_line(enum log_level level, const char *format, ...)
{
	int saved_errno = errno;
	char line[LINE_MAX_SIZE];
	int start = snprintf(line, sizeof(line), "pg_changefeed[%s]: %s: ", log_process, level_name(level));
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(line + start, sizeof(line) - (size_t)start - 1, format, arguments);
	va_end(arguments);

	size_t size = strlen(line);
	for (size_t i = (size_t)start; i < size; i++)
		if ((unsigned char)line[i] < ' ')
			line[i] = ' ';
	line[size++] = '\n';
	if (write(STDERR_FILENO, line, size) < 0) {
		/* there is nowhere left to say so */
	}
	errno = saved_errno;
}
