/*
 * syncer.c: see syncer.h.
 *
 * `asked` and `done` are eventfds; their reads and writes also order what the two threads share: `error` and
 * `stopping` are written by one side before it writes an eventfd and read by the other after it read it.
 */
#include "feed/syncer.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct syncer {
	struct ring_writer *writer;
	pthread_t thread;
	int asked; /* the caller writes, the thread waits on it */
	int done;  /* the thread writes, the event loop polls it */
	int error;
	bool stopping;
	bool running; /* the caller's alone */
};

static void signal_event(int fd)
{
	uint64_t one = 1;
	while (write(fd, &one, sizeof(one)) < 0 && errno == EINTR)
		;
}

static void take_event(int fd)
{
	uint64_t count;
	while (read(fd, &count, sizeof(count)) < 0 && errno == EINTR)
		;
}

static void *syncer_main(void *argument)
{
	struct syncer *syncer = argument;
	for (;;) {
		take_event(syncer->asked);
		if (syncer->stopping)
			return NULL;
		syncer->error = ring_checkpoint_sync(syncer->writer);
		signal_event(syncer->done);
	}
}

struct syncer *syncer_start(struct ring_writer *writer)
{
	struct syncer *syncer = calloc(1, sizeof(*syncer));
	if (syncer == NULL)
		return NULL;
	syncer->writer = writer;
	syncer->asked = eventfd(0, EFD_CLOEXEC);
	syncer->done = eventfd(0, EFD_CLOEXEC);
	if (syncer->asked >= 0 && syncer->done >= 0) {
		errno = pthread_create(&syncer->thread, NULL, syncer_main, syncer);
		if (errno == 0)
			return syncer;
	}
	int saved_errno = errno;
	close(syncer->asked);
	close(syncer->done);
	free(syncer);
	errno = saved_errno;
	return NULL;
}

int syncer_fd(const struct syncer *syncer)
{
	return syncer->done;
}

bool syncer_running(const struct syncer *syncer)
{
	return syncer->running;
}

bool syncer_begin(struct syncer *syncer)
{
	if (!ring_checkpoint_begin(syncer->writer))
		return false;
	syncer->running = true;
	signal_event(syncer->asked);
	return true;
}

int syncer_finish(struct syncer *syncer)
{
	take_event(syncer->done);
	syncer->running = false;
	ring_checkpoint_end(syncer->writer, syncer->error);
	return syncer->error;
}

bool syncer_wait(struct syncer *syncer, int timeout_ms, int *ret_error)
{
	struct pollfd fd = {.fd = syncer->done, .events = POLLIN};
	if (poll(&fd, 1, timeout_ms) <= 0)
		return false;
	*ret_error = syncer_finish(syncer);
	return true;
}

void syncer_stop(struct syncer *syncer)
{
	syncer->stopping = true;
	signal_event(syncer->asked);
	pthread_join(syncer->thread, NULL);
	close(syncer->asked);
	close(syncer->done);
	free(syncer);
}
