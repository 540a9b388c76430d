/*
 * A histogram of latencies that keeps its relative precision over the whole range: each power of
 * two is cut into 128 equal buckets, so that a percentile is less than 1 % too high and never too
 * low. Counting is an addition; the size is fixed.
 *
 *     value     0 1 2 ... 127 │ 128 ... 255 │ 256, 258 ... 510 │ 512, 516 ... │ ...
 *     width     1             │ 1           │ 2                │ 4            │
 */
#ifndef CLI_HISTOGRAM_H
#define CLI_HISTOGRAM_H

#include <stdint.h>

enum {
    HISTOGRAM_STEP_BITS = 7,
    HISTOGRAM_BITS = 42, /* nanoseconds of more than an hour; larger values count as the largest */
    HISTOGRAM_BUCKETS = (HISTOGRAM_BITS - HISTOGRAM_STEP_BITS + 1) << HISTOGRAM_STEP_BITS,
};

/* Zero-initialised it is empty. */
struct histogram {
    uint64_t count;
    uint64_t sum;
    uint64_t max;
    uint64_t buckets[HISTOGRAM_BUCKETS];
};

void histogram_add(struct histogram *histogram, uint64_t value);

/* The smallest bucket's upper end that at least `per_mille` thousandths of the values do not pass;
 * at most the maximum. 0 when it is empty. */
uint64_t histogram_percentile(const struct histogram *histogram, uint32_t per_mille);

/* 0 when it is empty. */
double histogram_mean(const struct histogram *histogram);

#endif
