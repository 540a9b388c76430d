#include "base/prng.h"

#include "base/assert.h"

static uint64_t rotate_left(uint64_t value, int bits)
{
    return (value << bits) | (value >> (64 - bits));
}

void prng_init(struct prng *prng, uint64_t seed)
{
    for (int i = 0; i < 4; i++) {
        seed += 0x9e3779b97f4a7c15u;
        uint64_t mixed = seed;
        mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9u;
        mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111ebu;
        prng->state[i] = mixed ^ (mixed >> 31);
    }
}

uint64_t prng_next(struct prng *prng)
{
    uint64_t *s = prng->state;
    uint64_t result = rotate_left(s[1] * 5, 7) * 9;
    uint64_t shifted = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= shifted;
    s[3] = rotate_left(s[3], 45);
    return result;
}

uint64_t prng_between(struct prng *prng, uint64_t low, uint64_t high)
{
    CHECK(low <= high);
    uint64_t span = high - low + 1;
    if (span == 0) {
        return prng_next(prng);
    }
    /* The draws above the last whole multiple of `span` are thrown away: no value is favoured. */
    uint64_t unfair = (0 - span) % span;
    uint64_t draw = prng_next(prng);
    while (draw < unfair) {
        draw = prng_next(prng);
    }
    return low + draw % span;
}

bool prng_chance(struct prng *prng, uint64_t numerator, uint64_t denominator)
{
    CHECK(denominator > 0);
    return prng_between(prng, 0, denominator - 1) < numerator;
}
