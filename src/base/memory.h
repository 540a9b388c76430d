/*
 * Allocation at start-up and for bounded growth. These never return NULL: running out of memory
 * ends the process with one sentence, and the disk holds everything that was acknowledged.
 */
#ifndef BASE_MEMORY_H
#define BASE_MEMORY_H

#include <stddef.h>

/* `count * size` zeroed bytes, overflow-checked; free() releases them. */
void *memory_new(size_t count, size_t size);

/* realloc() that does not fail; bytes beyond the old size are not initialised. */
void *memory_grow(void *memory, size_t size);

char *memory_copy_string(const char *string);

#endif
