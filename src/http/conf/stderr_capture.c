/* stderr_capture.c: see stderr_capture.h. */
#include "http/conf/stderr_capture.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

void stderr_capture_begin(struct stderr_capture *capture)
{
	fflush(stderr);
	capture->memory = memfd_create("stderr", MFD_CLOEXEC);
	capture->saved = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
	if (capture->memory >= 0 && capture->saved >= 0 && dup2(capture->memory, STDERR_FILENO) >= 0)
		return;
	if (capture->memory >= 0)
		close(capture->memory);
	if (capture->saved >= 0)
		close(capture->saved);
	capture->memory = -1;
}

void stderr_capture_end(struct stderr_capture *capture, struct buffer *ret_line)
{
	char text[1024];
	if (capture->memory < 0)
		return;
	fflush(stderr);
	dup2(capture->saved, STDERR_FILENO);
	ssize_t size = pread(capture->memory, text, sizeof(text) - 1, 0);
	close(capture->saved);
	close(capture->memory);
	text[size < 0 ? 0 : size] = '\0';
	buffer_append(ret_line, text, strcspn(text, "\n"));
}
