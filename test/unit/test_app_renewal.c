/*
 * The replacing of a data directory's files, stopped at each of its renames: a server never finds a
 * mixture that it would take for a whole directory, or an unused one, and going on always ends with
 * the new files.
 */
#include "app/renewal.h"

#include "kvapp/err.h"

#include <dirent.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

enum { STEPS_MAX = 100 };

static const char *const names[] = {
    "IDENTITY", "VOTE", "log-0000000000000001", "log-0000000000000002", "snapshot-0000000000000007",
};

enum { NAME_COUNT = sizeof names / sizeof names[0] };

static void remove_all(const char *folder)
{
    DIR *directory = opendir(folder);
    if (directory == NULL) {
        return;
    }
    for (struct dirent *entry = readdir(directory); entry != NULL; entry = readdir(directory)) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 &&
            unlinkat(dirfd(directory), entry->d_name, 0) != 0) {
            char inner[300];
            (void)snprintf(inner, sizeof inner, "%.30s/%.255s", folder, entry->d_name);
            remove_all(inner);
        }
    }
    (void)closedir(directory);
    (void)rmdir(folder);
}

static int set_up(void **state)
{
    char folder[] = "/tmp/kvapp-renewal-XXXXXX";
    assert_non_null(mkdtemp(folder));
    assert_int_equal(chdir(folder), 0);
    *state = strdup(folder);
    return 0;
}

static int tear_down(void **state)
{
    assert_int_equal(chdir("/"), 0);
    remove_all(*state);
    free(*state);
    return 0;
}

static void write_file(const char *folder, const char *name, const char *content)
{
    char path[300];
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    (void)fputs(content, file);
    assert_int_equal(fclose(file), 0);
}

/* The content of a file, "" when it is not there. */
static const char *read_file(const char *folder, const char *name, char content[16])
{
    char path[300];
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    memset(content, 0, 16);
    FILE *file = fopen(path, "r");
    if (file != NULL) {
        (void)fread(content, 1, 15, file);
        (void)fclose(file);
    }
    return content;
}

/* DIR with the old files, and the new ones whole beside them. */
static void make_scene(struct renewal *renewal, bool replaces)
{
    remove_all("DIR");
    assert_int_equal(mkdir("DIR", 0700), 0);
    for (size_t i = 0; replaces && i < NAME_COUNT; i++) {
        write_file("DIR", names[i], "old");
    }
    write_file("DIR", "LOCK", "");
    assert_int_equal(renewal_init(renewal, "DIR", "test", replaces), 0);
    assert_int_equal(renewal_begin(renewal), 0);
    assert_int_equal(mkdir(renewal->making, 0700), 0);
    for (size_t i = 0; i < NAME_COUNT; i++) {
        write_file(renewal->making, names[i], "new");
    }
    write_file(renewal->making, "LOCK", "");
    assert_int_equal(renewal_made(renewal), 0);
}

/* Whether all files there are have this content. */
static bool all_are(const char *content)
{
    char found[16];
    for (size_t i = 0; i < NAME_COUNT; i++) {
        if (strcmp(read_file("DIR", names[i], found), content) != 0) {
            return false;
        }
    }
    return true;
}

/* What a server would make of it. */
static void assert_never_a_mixture(bool replaces)
{
    char found[16];
    bool identity = read_file("DIR", "IDENTITY", found)[0] != '\0';
    bool used = false;
    for (size_t i = 1; i < NAME_COUNT; i++) {
        used = used || read_file("DIR", names[i], found)[0] != '\0';
    }
    if (identity) {
        assert_true(all_are("old") || all_are("new"));
    } else {
        assert_true(used || !replaces); /* a restore begins with nothing */
    }
}

static void assert_renewed(bool replaces)
{
    char found[16];
    assert_true(all_are("new"));
    for (size_t i = 0; replaces && i < NAME_COUNT; i++) {
        assert_string_equal(read_file("DIR/before-test", names[i], found), "old");
    }
    assert_int_equal(access("DIR/test.making", F_OK), -1);
    assert_int_equal(access("DIR/test.whole", F_OK), -1);
    assert_int_equal(access("DIR/test.moving", F_OK), -1);
}

/* Returns false when the renewal was over before. */
static bool stop_after(int steps, bool replaces)
{
    struct renewal renewal;
    make_scene(&renewal, replaces);
    bool done = false;
    for (int step = 0; step < steps && !done; step++) {
        assert_int_equal(renewal_step(&renewal, &done), 0);
        assert_never_a_mixture(replaces);
    }
    if (done) {
        return false;
    }
    struct renewal again;
    bool unfinished = false;
    assert_int_equal(renewal_init(&again, "DIR", "test", replaces), 0);
    assert_int_equal(renewal_is_unfinished(&again, &unfinished), 0);
    if (unfinished) {
        assert_int_equal(renewal_finish(&again), 0);
        assert_renewed(replaces);
    } else {
        /* Nothing was moved yet, or everything. */
        assert_true(all_are("old") || all_are("new"));
    }
    return true;
}

static void a_renewal_stopped_anywhere_can_go_on(void **state)
{
    (void)state;
    for (int replaces = 0; replaces < 2; replaces++) {
        int steps = 0;
        while (stop_after(steps, replaces != 0)) {
            steps++;
            assert_in_range(steps, 0, STEPS_MAX);
        }
        /* Each file in, and with old ones each out, and the folder twice. */
        assert_in_range(steps, NAME_COUNT + 2, STEPS_MAX);
        assert_renewed(replaces != 0);
    }
}

static void what_was_whole_but_never_moved_is_made_anew(void **state)
{
    (void)state;
    struct renewal renewal;
    make_scene(&renewal, true);
    bool unfinished = true;
    assert_int_equal(renewal_is_unfinished(&renewal, &unfinished), 0);
    assert_false(unfinished);
    assert_int_equal(renewal_begin(&renewal), 0);
    assert_true(all_are("old"));
    assert_int_equal(access("DIR/test.whole", F_OK), -1);
}

static void what_was_there_before_is_never_overwritten(void **state)
{
    (void)state;
    struct renewal renewal;
    make_scene(&renewal, true);
    assert_int_equal(renewal_finish(&renewal), 0);
    assert_int_equal(renewal_begin(&renewal), KV_ERR_REFUSED);
    assert_non_null(strstr(renewal.sentence, "DIR/before-test"));
    assert_renewed(true);
}

static void files_of_others_stay_and_are_found(void **state)
{
    (void)state;
    struct renewal renewal;
    make_scene(&renewal, true);
    write_file("DIR", "notes.txt", "mine");
    assert_int_equal(mkdir("DIR/lost+found", 0700), 0);
    assert_int_equal(renewal_finish(&renewal), 0);
    char found[16];
    assert_string_equal(read_file("DIR", "notes.txt", found), "mine");

    assert_int_equal(mkdir("OTHER", 0700), 0);
    assert_int_equal(mkdir("OTHER/lost+found", 0700), 0);
    write_file("OTHER", "LOCK", "");
    char *name = NULL;
    assert_int_equal(renewal_init(&renewal, "OTHER", "test", false), 0);
    assert_int_equal(renewal_find_name(&renewal, &name), 0);
    assert_null(name);
    write_file("OTHER", "notes.txt", "mine");
    assert_int_equal(renewal_find_name(&renewal, &name), 0);
    assert_string_equal(name, "notes.txt");
    free(name);
}

static void nothing_is_moved_while_a_server_runs(void **state)
{
    (void)state;
    struct renewal renewal;
    make_scene(&renewal, true);
    FILE *file = fopen("DIR/LOCK", "r+");
    assert_non_null(file);
    assert_int_equal(flock(fileno(file), LOCK_EX), 0);
    assert_int_equal(renewal_finish(&renewal), KV_ERR_LOCKED);
    assert_true(all_are("old"));
    (void)fclose(file);
    assert_int_equal(renewal_finish(&renewal), 0);
    assert_renewed(true);
}

#define IN_A_FOLDER(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_A_FOLDER(a_renewal_stopped_anywhere_can_go_on),
        IN_A_FOLDER(what_was_whole_but_never_moved_is_made_anew),
        IN_A_FOLDER(what_was_there_before_is_never_overwritten),
        IN_A_FOLDER(files_of_others_stay_and_are_found),
        IN_A_FOLDER(nothing_is_moved_while_a_server_runs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
