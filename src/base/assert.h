/*
 * Assertions. CHECK states what only a bug can break; it stays on in release builds and ends the
 * process, since a store that is wrong is worse than one that is down. Input is never asserted.
 */
#ifndef BASE_ASSERT_H
#define BASE_ASSERT_H

#include <stddef.h>

/* Prints the failed condition with its place to standard error and aborts. */
_Noreturn void assert_failed(const char *condition, const char *file, int line);

/* One condition each, so that the message says which. */
#define CHECK(condition) ((condition) ? (void)0 : assert_failed(#condition, __FILE__, __LINE__))

#define UNREACHABLE() assert_failed("unreachable", __FILE__, __LINE__)

/* Relates limits and sizes at compile time. */
#define STATIC_CHECK(condition, why) _Static_assert(condition, why)

/* The struct that embeds `member` at `pointer`. */
#define CONTAINER_OF(pointer, type, member) ((type *)((char *)(pointer)-offsetof(type, member)))

#endif
