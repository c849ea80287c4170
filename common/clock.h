/*
 * How time passes, whatever the clock on the wall is set to.
 */
#ifndef CLOCK_H
#define CLOCK_H

#include <stdint.h>
#include <time.h>

/* Milliseconds since some moment that stays the same (CLOCK_MONOTONIC). */
static inline int64_t
clock_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* The same in seconds. */
static inline int64_t
clock_s(void)
{
	return clock_ms() / 1000;
}

/* The moment ms milliseconds from now, for what waits by CLOCK_MONOTONIC. */
static inline struct timespec
clock_in(int64_t ms)
{
	const int64_t at = clock_ms() + ms;

	return (struct timespec) { .tv_sec = (time_t)(at / 1000),
		.tv_nsec = (long)(at % 1000) * 1000000 };
}

/* Microseconds of a processor that the calling thread has taken. */
static inline int64_t
clock_cpu_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

static inline int64_t
clock_cpu_ms(void)
{
	return clock_cpu_us() / 1000;
}

#endif
