/* What a run of kvapp bench measured, and how it is shown. */
#ifndef CLI_BENCH_H
#define CLI_BENCH_H

#include "cli/histogram.h"
#include "cli/output.h"

/* Their places in "put|get|mixed". */
enum bench_operation { BENCH_PUT, BENCH_GET, BENCH_MIXED };

extern const char bench_operations[];

struct bench_plan {
    enum bench_operation operation;
    uint64_t clients;
    uint64_t requests;
    uint64_t key_space;
    uint64_t value_size;
    uint64_t pipeline;
    uint64_t seed;
};

struct bench_result {
    uint64_t nanoseconds;
    struct histogram latencies; /* of the requests that were answered, in nanoseconds */
    uint64_t failed;            /* no answer, or an error */
    uint64_t wrong;             /* an answer that cannot be right */
    int failure;                /* of the first that failed */
    char complaint[160];        /* of the first that was wrong */
    bool has_log;               /* one and the same leader before and after: */
    uint64_t leader;
    uint64_t log_writes; /* of the leader during the run */
    uint64_t log_syncs;
    uint64_t log_entries;
};

void bench_report(struct output *output, const struct bench_plan *plan,
                  const struct bench_result *result);

/* ---- the values, which can be checked ---- */

/*
 * A value is the key's number, then the write's, as 16 hexadecimal digits each with the lowest
 * first, then letters that depend on the write's number; all of it cut at the size. So any value
 * of 16 or more bytes tells which key it belongs to, and any of 32 or more which write made it.
 */
void bench_value_fill(uint8_t *value, size_t size, uint64_t key_number, uint64_t write_number);

/* Whether some write of this key made the value. */
bool bench_value_fits(const uint8_t *value, size_t size, uint64_t key_number);

/* "key-" and 16 hexadecimal digits, without a zero byte. */
enum { BENCH_KEY_SIZE = 20 };
void bench_key_fill(char *key, uint64_t key_number);

#endif
