/* XXH3-64 of xxHash: every checksum of kvapp, and the hash of its tables and digests. */
#ifndef BASE_HASH_H
#define BASE_HASH_H

#include "base/bytes.h"

uint64_t hash_bytes(const void *data, size_t size);
uint64_t hash_bytes_seeded(const void *data, size_t size, uint64_t seed);

#endif
