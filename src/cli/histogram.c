#include "cli/histogram.h"

#include "base/assert.h"

#include <stddef.h>

enum { STEPS = 1 << HISTOGRAM_STEP_BITS };

static size_t bucket_of(uint64_t value)
{
    if (value < STEPS) {
        return (size_t)value;
    }
    unsigned top = 63 - (unsigned)__builtin_clzll(value);
    if (top >= HISTOGRAM_BITS) {
        return HISTOGRAM_BUCKETS - 1;
    }
    unsigned shift = top - HISTOGRAM_STEP_BITS;
    return ((size_t)(shift + 1) << HISTOGRAM_STEP_BITS) + (size_t)((value >> shift) - STEPS);
}

/* The largest value that falls into the bucket. */
static uint64_t bucket_end(size_t bucket)
{
    if (bucket < STEPS) {
        return bucket;
    }
    unsigned shift = (unsigned)(bucket >> HISTOGRAM_STEP_BITS) - 1;
    uint64_t step = (bucket & (STEPS - 1)) + STEPS;
    return ((step + 1) << shift) - 1;
}

void histogram_add(struct histogram *histogram, uint64_t value)
{
    histogram->count++;
    histogram->sum += value;
    histogram->max = value > histogram->max ? value : histogram->max;
    histogram->buckets[bucket_of(value)]++;
}

uint64_t histogram_percentile(const struct histogram *histogram, uint32_t per_mille)
{
    CHECK(per_mille <= 1000);
    uint64_t whole = histogram->count / 1000 * per_mille;
    uint64_t rest = histogram->count % 1000 * per_mille;
    uint64_t wanted = whole + (rest + 999) / 1000;
    wanted = wanted == 0 ? 1 : wanted;
    uint64_t seen = 0;
    for (size_t i = 0; i < HISTOGRAM_BUCKETS && histogram->count > 0; i++) {
        seen += histogram->buckets[i];
        if (seen >= wanted) {
            uint64_t end = bucket_end(i);
            return end < histogram->max && i + 1 < HISTOGRAM_BUCKETS ? end : histogram->max;
        }
    }
    return 0;
}

double histogram_mean(const struct histogram *histogram)
{
    return histogram->count == 0 ? 0 : (double)histogram->sum / (double)histogram->count;
}
