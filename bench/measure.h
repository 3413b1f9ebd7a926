/*
 * measure.h: what the programs of the benchmark share: clocks, CPU time of processes, a histogram.
 *
 * In: nothing but the kernel's clocks and /proc. Out: microseconds. Not part of the product.
 */
#ifndef CHANGEFEED_BENCH_MEASURE_H
#define CHANGEFEED_BENCH_MEASURE_H

#include <dirent.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static inline int64_t clock_us(clockid_t clock)
{
	struct timespec now;
	clock_gettime(clock, &now);
	return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

/* Microseconds since 1970: what a payload carries from one process to another on this machine. */
static inline int64_t realtime_us(void)
{
	return clock_us(CLOCK_REALTIME);
}

static inline void sleep_until_us(int64_t monotonic_us)
{
	struct timespec until = {monotonic_us / 1000000, monotonic_us % 1000000 * 1000};
	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) != 0)
		;
}

/* CPU time of all threads of a process, in nanosecond resolution (proc(5), schedstat). 0 if it is gone. */
static inline int64_t process_cpu_us(int pid)
{
	char path[64 + 256];
	int64_t sum = 0;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	DIR *tasks = opendir(path);
	if (tasks == NULL)
		return 0;
	for (struct dirent *task; (task = readdir(tasks)) != NULL;) {
		int64_t on_cpu_ns = 0;
		if (task->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "/proc/%d/task/%s/schedstat", pid, task->d_name);
		FILE *file = fopen(path, "re");
		if (file == NULL)
			continue;
		if (fscanf(file, "%" SCNd64, &on_cpu_ns) == 1)
			sum += on_cpu_ns / 1000;
		fclose(file);
	}
	closedir(tasks);
	return sum;
}

/*
 * A histogram of microseconds, exact below 64, then in steps of at most 1/64: value 64 * 2^e + s * 2^e is in
 * bucket 64 * (e + 1) + s.
 */
enum { HISTOGRAM_STEPS = 64, HISTOGRAM_SIZE = 64 * 59 };

struct histogram {
	uint64_t count;
	uint64_t max;
	uint64_t buckets[HISTOGRAM_SIZE];
};

static inline void histogram_add(struct histogram *histogram, int64_t signed_value)
{
	uint64_t value = signed_value < 0 ? 0 : (uint64_t)signed_value;
	unsigned exponent = 0;

	while (value >> exponent >= 2 * HISTOGRAM_STEPS)
		exponent++;
	histogram->buckets[value < HISTOGRAM_STEPS ? value : HISTOGRAM_STEPS * exponent + (value >> exponent)]++;
	histogram->count++;
	if (value > histogram->max)
		histogram->max = value;
}

/* The smallest value that at least `share` of all do not exceed. */
static inline uint64_t histogram_quantile(const struct histogram *histogram, double share)
{
	uint64_t wanted = (uint64_t)(share * (double)histogram->count), seen = 0;

	for (uint64_t bucket = 0; bucket < HISTOGRAM_SIZE; bucket++) {
		seen += histogram->buckets[bucket];
		if (seen > wanted || (seen == wanted && seen == histogram->count))
			return bucket < 2 * HISTOGRAM_STEPS
					   ? bucket
					   : (HISTOGRAM_STEPS + bucket % HISTOGRAM_STEPS) << (bucket / HISTOGRAM_STEPS - 1);
	}
	return histogram->max;
}

/* As a member of a JSON object. */
static inline void histogram_print(const struct histogram *histogram, FILE *out)
{
	fprintf(out,
			"\"latency_us\":{\"count\":%" PRIu64 ",\"p50\":%" PRIu64 ",\"p90\":%" PRIu64 ",\"p99\":%" PRIu64
			",\"max\":%" PRIu64 "}",
			histogram->count, histogram_quantile(histogram, 0.5), histogram_quantile(histogram, 0.9),
			histogram_quantile(histogram, 0.99), histogram->max);
}

/* The number behind a member's name in the text of a JSON object, or -1. */
static inline int64_t member_number(const char *text, size_t size, const char *name)
{
	const char *at = memmem(text, size, name, strlen(name));
	int64_t number = 0;

	if (at == NULL)
		return -1;
	for (at += strlen(name); at < text + size && (*at == ' ' || *at == '"'); at++)
		;
	if (at == text + size || *at < '0' || *at > '9')
		return -1;
	for (; at < text + size && *at >= '0' && *at <= '9'; at++)
		number = number * 10 + (*at - '0');
	return number;
}

#endif
