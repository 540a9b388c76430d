/* The bench: its histogram, its values, and whether it notices wrong answers. */
#include "cli/bench.h"
#include "cli/cli.h"

#include "fake_client.h"

#include "base/memory.h"
#include "base/prng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

static int compare_numbers(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a;
    uint64_t right = *(const uint64_t *)b;
    return (left > right) - (left < right);
}

static void percentiles_are_within_one_percent_above(void **state)
{
    (void)state;
    enum { COUNT = 20001 };
    uint64_t seed = 4711;
    print_message("# seed %llu\n", (unsigned long long)seed);
    struct prng prng;
    prng_init(&prng, seed);
    struct histogram *histogram = memory_new(1, sizeof *histogram);
    uint64_t *values = memory_new(COUNT, sizeof *values);
    for (size_t i = 0; i < COUNT; i++) {
        values[i] = prng_next(&prng) >> prng_between(&prng, 24, 63);
        histogram_add(histogram, values[i]);
    }
    qsort(values, COUNT, sizeof *values, compare_numbers);
    for (uint32_t per_mille = 0; per_mille <= 1000; per_mille++) {
        size_t rank = (COUNT * (size_t)per_mille + 999) / 1000;
        uint64_t exact = values[rank == 0 ? 0 : rank - 1];
        uint64_t found = histogram_percentile(histogram, per_mille);
        assert_true(found >= exact);
        assert_true(found - exact <= exact / 100);
    }
    assert_int_equal(histogram_percentile(histogram, 1000), values[COUNT - 1]);
    free(values);
    free(histogram);
}

static void histogram_knows_mean_and_maximum_exactly(void **state)
{
    (void)state;
    struct histogram *histogram = memory_new(1, sizeof *histogram);
    assert_int_equal(histogram_percentile(histogram, 500), 0);
    assert_true(histogram_mean(histogram) == 0);
    histogram_add(histogram, 1);
    histogram_add(histogram, 1000003);
    assert_true(histogram_mean(histogram) == 500002);
    assert_int_equal(histogram->max, 1000003);
    assert_int_equal(histogram_percentile(histogram, 999), 1000003);
    assert_int_equal(histogram_percentile(histogram, 500), 1);
    free(histogram);
}

static void values_beyond_the_range_count_as_the_largest(void **state)
{
    (void)state;
    struct histogram *histogram = memory_new(1, sizeof *histogram);
    histogram_add(histogram, UINT64_MAX / 2);
    histogram_add(histogram, 5);
    assert_int_equal(histogram_percentile(histogram, 500), 5);
    assert_int_equal(histogram_percentile(histogram, 1000), UINT64_MAX / 2);
    free(histogram);
}

static void value_fits_its_key_and_no_other(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 1, 15, 16, 17, 31, 32, 33, 58, 59, 100, 1000};
    uint8_t value[1000];
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        size_t size = sizes[i];
        bench_value_fill(value, size, 0x12345, 99);
        assert_true(bench_value_fits(value, size, 0x12345));
        assert_true(size == 0 || !bench_value_fits(value, size, 0x12346));
        /* A flipped bit shows, but for the write's number in a value too short to check it. */
        for (size_t at = 0; at < size; at++) {
            value[at] ^= 0x80;
            bool checked = at < 16 || size >= 32;
            assert_true(bench_value_fits(value, size, 0x12345) == !checked);
            value[at] ^= 0x80;
        }
    }
}

static void keys_are_different_and_in_order(void **state)
{
    (void)state;
    char key[BENCH_KEY_SIZE];
    char next[BENCH_KEY_SIZE];
    bench_key_fill(key, 0xab);
    bench_key_fill(next, 0xb0);
    assert_memory_equal(key, "key-00000000000000ab", BENCH_KEY_SIZE);
    assert_true(memcmp(key, next, BENCH_KEY_SIZE) < 0);
}

static const char *no_environment(void *context, const char *name)
{
    (void)context;
    (void)name;
    return NULL;
}

/* Runs the bench with what it prints going to a file. Returns its exit status. */
static int run_bench(const char *const *arguments, size_t count, char *output, size_t output_size)
{
    struct slice words[16];
    for (size_t i = 0; i < count; i++) {
        words[i] = slice_of_string(arguments[i]);
    }
    struct options options;
    char error[OPTIONS_ERROR_SIZE];
    assert_int_equal(
        options_parse(words, count, no_environment, NULL, &options, error, sizeof error), 0);
    FILE *file = tmpfile();
    assert_non_null(file);
    (void)fflush(stdout);
    int saved = dup(STDOUT_FILENO);
    assert_true(dup2(fileno(file), STDOUT_FILENO) >= 0);
    int exit_status = cli_bench_main(&options);
    (void)fflush(stdout);
    assert_true(dup2(saved, STDOUT_FILENO) >= 0);
    (void)close(saved);
    rewind(file);
    size_t size = fread(output, 1, output_size - 1, file);
    output[size] = '\0';
    (void)fclose(file);
    options_done(&options);
    return exit_status;
}

static const char *const mixed[] = {"bench",      "--json", "--clients",   "7",  "--pipeline", "3",
                                    "--requests", "2000",   "--key-space", "50", "mixed"};
enum { MIXED_COUNT = sizeof mixed / sizeof mixed[0] };

static int64_t number_of(json_t *object, const char *name)
{
    json_t *number = json_object_get(object, name);
    assert_true(json_is_integer(number));
    return json_integer_value(number);
}

static void report_is_one_object_with_all_its_numbers(void **state)
{
    (void)state;
    char output[4096];
    fake_client_set_fault(FAKE_NO_FAULT, 0);
    assert_int_equal(run_bench(mixed, MIXED_COUNT, output, sizeof output), 0);
    json_t *object = json_loads(output, 0, NULL);
    assert_non_null(object);
    assert_string_equal(json_string_value(json_object_get(object, "operation")), "mixed");
    assert_int_equal(number_of(object, "clients"), 7);
    assert_int_equal(number_of(object, "pipeline"), 3);
    assert_int_equal(number_of(object, "requests"), 2000);
    assert_int_equal(number_of(object, "value_size"), 100);
    assert_int_equal(number_of(object, "errors"), 0);
    static const char *const reals[] = {
        "seconds", "ops_per_second", "mean_us", "p50_us",
        "p99_us",  "p999_us",        "max_us",  "log_syncs_per_second"};
    for (size_t i = 0; i < sizeof reals / sizeof reals[0]; i++) {
        assert_true(json_is_real(json_object_get(object, reals[i])));
    }
    assert_true(json_real_value(json_object_get(object, "ops_per_second")) > 0);
    json_decref(object);
}

static void every_kind_of_wrong_answer_is_noticed(void **state)
{
    (void)state;
    static const struct {
        enum fake_fault fault;
        const char *complaint;
    } cases[] = {
        {FAKE_FOREIGN_VALUE, "a value has another size than what was written"},
        {FAKE_STALE_VALUE, "a value is older than one that was known before"},
        {FAKE_NOT_FOUND, "a key that was written is not there"},
        {FAKE_LOST_WRITE, "a write was put before one that was known before"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char output[4096];
        fake_client_set_fault(cases[i].fault, 97);
        assert_int_equal(run_bench(mixed, MIXED_COUNT, output, sizeof output), 1);
        json_t *object = json_loads(output, 0, NULL);
        assert_non_null(object);
        assert_true(number_of(object, "wrong") > 0);
        assert_int_equal(number_of(object, "failed"), 0);
        const char *complaint = json_string_value(json_object_get(object, "complaint"));
        assert_non_null(strstr(complaint, cases[i].complaint));
        json_decref(object);
    }
    fake_client_set_fault(FAKE_NO_FAULT, 0);
}

static void value_of_another_key_is_noticed_at_the_same_size(void **state)
{
    (void)state;
    static const char *const gets[] = {"bench",      "--json", "--value-size", "16",
                                       "--requests", "500",    "get"};
    char output[4096];
    fake_client_set_fault(FAKE_FOREIGN_VALUE, 50);
    assert_int_equal(run_bench(gets, sizeof gets / sizeof gets[0], output, sizeof output), 1);
    assert_non_null(strstr(output, "a value was never written to this key"));
    fake_client_set_fault(FAKE_NO_FAULT, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(percentiles_are_within_one_percent_above),
        cmocka_unit_test(histogram_knows_mean_and_maximum_exactly),
        cmocka_unit_test(values_beyond_the_range_count_as_the_largest),
        cmocka_unit_test(value_fits_its_key_and_no_other),
        cmocka_unit_test(keys_are_different_and_in_order),
        cmocka_unit_test(report_is_one_object_with_all_its_numbers),
        cmocka_unit_test(every_kind_of_wrong_answer_is_noticed),
        cmocka_unit_test(value_of_another_key_is_noticed_at_the_same_size),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
