/*
 * The only source of chance: xoshiro256** seeded through splitmix64. The same seed gives the same
 * numbers on every machine and compiler.
 */
#ifndef BASE_PRNG_H
#define BASE_PRNG_H

#include <stdbool.h>
#include <stdint.h>

struct prng {
    uint64_t state[4];
};

void prng_init(struct prng *prng, uint64_t seed);
uint64_t prng_next(struct prng *prng);

/* Uniform in [low, high], both included; low <= high. */
uint64_t prng_between(struct prng *prng, uint64_t low, uint64_t high);

/* True `numerator` times in `denominator` on average. */
bool prng_chance(struct prng *prng, uint64_t numerator, uint64_t denominator);

#endif
