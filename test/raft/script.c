/*
 * Runs scripts; script.h describes them. Each file is one test.
 *
 *     script FILE ...             compares each file with what its commands show now
 *     script --rewrite FILE ...   writes what they show into the files
 *
 * A rewritten file is reviewed like code: the difference is what a change of the core means.
 */
#include "script.h"

#include "base/assert.h"
#include "base/memory.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static bool read_file(const char *path, struct buf *ret_text)
{
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        return false;
    }
    size_t size = 0;
    do {
        size = fread(buf_reserve(ret_text, 4096), 1, 4096, file);
        ret_text->size += size;
    } while (size > 0);
    (void)fclose(file);
    return true;
}

/* The line that begins at `*at`, without its newline; false at the end. */
static bool next_line(const struct buf *text, size_t *at, struct slice *ret_line)
{
    if (*at >= text->size) {
        return false;
    }
    const uint8_t *begin = text->data + *at;
    const uint8_t *end = memchr(begin, '\n', text->size - *at);
    size_t size = end == NULL ? text->size - *at : (size_t)(end - begin);
    *ret_line = slice_of(begin, size);
    *at += size + 1;
    return true;
}

/* Repeats comments and commands and replaces the expectations by what the commands show. */
static bool perform(const char *path, const struct buf *script, struct buf *ret_performed)
{
    struct stage *stage = stage_new(ret_performed);
    bool good = true;
    size_t at = 0;
    struct slice line;
    for (uint64_t number = 1; good && next_line(script, &at, &line); number++) {
        if (slice_has_prefix(line, slice_of_string("    "))) {
            continue;
        }
        buf_append_slice(ret_performed, line);
        buf_put_u8(ret_performed, '\n');
        if (line.size == 0 || line.data[0] == '#') {
            continue;
        }
        char command[512];
        (void)snprintf(command, sizeof command, "%.*s", (int)line.size, (const char *)line.data);
        if (!stage_command(stage, command)) {
            printf("# %s:%" PRIu64 ": this command cannot be carried out: %s\n", path, number,
                   command);
            good = false;
        }
    }
    stage_free(stage);
    return good;
}

static bool compare(const char *path, const struct buf *script, const struct buf *performed)
{
    size_t expected_at = 0;
    size_t shown_at = 0;
    struct slice expected = slice_of(NULL, 0);
    struct slice shown = slice_of(NULL, 0);
    for (uint64_t number = 1;; number++) {
        bool more_expected = next_line(script, &expected_at, &expected);
        bool more_shown = next_line(performed, &shown_at, &shown);
        if (!more_expected && !more_shown) {
            return true;
        }
        if (!more_expected || !more_shown || !slice_equal(expected, shown)) {
            printf("# %s:%" PRIu64 " differs\n# expected: %.*s\n# shown:    %.*s\n", path, number,
                   more_expected ? (int)expected.size : 0, (const char *)expected.data,
                   more_shown ? (int)shown.size : 0, (const char *)shown.data);
            return false;
        }
    }
}

static bool run_file(const char *path, bool rewrite)
{
    struct buf script = {.data = NULL};
    struct buf performed = {.data = NULL};
    bool good = read_file(path, &script) && perform(path, &script, &performed);
    if (good && rewrite) {
        FILE *file = fopen(path, "we");
        good = file != NULL && fwrite(performed.data, 1, performed.size, file) == performed.size;
        good = file != NULL && fclose(file) == 0 && good;
    } else if (good) {
        good = compare(path, &script, &performed);
    }
    buf_done(&script);
    buf_done(&performed);
    return good;
}

static void shows_what_was_recorded(void **state)
{
    assert_true(run_file(*state, false));
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash == NULL ? path : slash + 1;
}

int main(int argc, char **argv)
{
    if (argc > 2 && strcmp(argv[1], "--rewrite") == 0) {
        int failed = 0;
        for (int i = 2; i < argc; i++) {
            if (!run_file(argv[i], true)) {
                (void)fprintf(stderr, "%s: not rewritten\n", argv[i]);
                failed = 1;
            }
        }
        return failed;
    }
    size_t count = (size_t)argc - 1;
    if (count == 0) {
        (void)fprintf(stderr, "usage: %s [--rewrite] FILE ...\n", argv[0]);
        return 2;
    }
    struct CMUnitTest *tests = memory_new(count, sizeof *tests);
    for (size_t i = 0; i < count; i++) {
        tests[i] = (struct CMUnitTest){.name = base_name(argv[i + 1]),
                                       .test_func = shows_what_was_recorded,
                                       .initial_state = argv[i + 1]};
    }
    int failed = _cmocka_run_group_tests("raft scripts", tests, count, NULL, NULL);
    free(tests);
    return failed;
}
