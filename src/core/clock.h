/*
 * clock.h: the two clocks, in microseconds, and milliseconds where that is fine enough. A time is an int64_t.
 */
#ifndef CHANGEFEED_CORE_CLOCK_H
#define CHANGEFEED_CORE_CLOCK_H

#include <stdint.h>
#include <time.h>

/* In microseconds. */
enum { MILLISECOND = 1000, SECOND = 1000 * 1000 };

/* For deadlines: never goes back, starts anywhere, is the same in all processes. */
static inline int64_t clock_monotonic_us(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * SECOND + now.tv_nsec / 1000;
}

static inline int64_t clock_monotonic_ms(void)
{
	return clock_monotonic_us() / MILLISECOND;
}

/* For people and for PostgreSQL: since 1970. */
static inline int64_t clock_realtime_us(void)
{
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	return (int64_t)now.tv_sec * SECOND + now.tv_nsec / 1000;
}

/* The timeout for poll(2) until a deadline of the monotonic clock, rounded up, 0 if it has passed. */
static inline int clock_poll_timeout(int64_t now, int64_t deadline)
{
	if (deadline <= now)
		return 0;
	int64_t milliseconds = (deadline - now + MILLISECOND - 1) / MILLISECOND;
	return milliseconds > INT32_MAX ? INT32_MAX : (int)milliseconds;
}

#endif
