/*
 * After the loss of a majority nobody can be elected, and rightly so: what the lost servers had
 * acknowledged may be nowhere else. Who accepts that makes a new cluster of one survivor here.
 *
 * Its directory is made anew from the old one, by storage like any other: the newest snapshot and
 * all entries behind it as they are, then, in a term of its own, the change to a membership of this
 * one server, so that its election commits them all. The cluster id is new, and with it no other
 * survivor, whose log may differ, can be talked to; it joins with an empty directory.
 */
#include "app/recover.h"

#include "app/renewal.h"
#include "app/store.h"
#include "app/survivor.h"
#include "base/memory.h"
#include "raft/membership.h"
#include "wire/membership.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

enum { RECOVER_DONE = 0, RECOVER_FAILED = 1, RECOVER_USAGE = 2 };

static int refuse(const char *sentence, int exit_status)
{
    (void)fprintf(stderr, "kvapp recover: %s\n", sentence);
    return exit_status;
}

/* ---- making the new directory ---- */

struct recovery {
    struct survivor survivor;
    const char *address; /* of the server, for its membership */
    struct store old;
    struct store new;
    struct renewal renewal;
};

static uint64_t new_cluster_id(struct recovery *recovery)
{
    uint64_t id = 0;
    while (id == 0 || id == recovery->survivor.identity.cluster_id) {
        id = io_random(recovery->old.io);
    }
    return id;
}

static int copy_snapshot(struct recovery *recovery, uint64_t index)
{
    char name[SNAPSHOT_NAME_SIZE];
    snapshot_name(index, name);
    size_t size = strlen(recovery->survivor.path) + sizeof name + 1;
    char *path = memory_new(1, size);
    (void)snprintf(path, size, "%s/%s", recovery->survivor.path, name);
    struct snapshot_reading reading;
    snapshot_reading_init(&reading, recovery->new.io, path, recovery->survivor.identity.cluster_id);
    free(path);
    int err = store_take_snapshot(&recovery->new, &reading, slice_of(NULL, 0));
    snapshot_walk_done(&reading.walk);
    return err;
}

static void append_membership(struct recovery *recovery, uint64_t term,
                              const struct raft_membership *membership)
{
    struct store *new = &recovery->new;
    struct buf payload = {0};
    membership_encode(membership, &payload);
    const struct entry entry = {
        .index = storage_last_index(new->storage) + 1,
        .term = term,
        .time_ms = io_wall_ms(new->io),
        .kind = ENTRY_MEMBERSHIP,
        .payload = buf_slice(&payload),
    };
    storage_append(new->storage, &entry);
    buf_done(&payload);
}

/*
 * The last entries: this server is all there is. They lead there as a leader's would, who takes no
 * step but out of a joint membership, into one, and out of it (paper §6).
 */
static int append_change(struct recovery *recovery, uint64_t term)
{
    const struct survivor *survivor = &recovery->survivor;
    struct store *new = &recovery->new;
    struct storage_restored made;
    storage_restored(new->storage, &made);
    struct raft_membership alone = {
        .count = 1,
        .members = {{.id = survivor->identity.node_id,
                     .voter = true,
                     .incarnation = made.incarnation}},
    };
    (void)snprintf(alone.members[0].address, sizeof alone.members[0].address, "%s",
                   recovery->address);
    struct raft_membership present = survivor->has_membership ? survivor->membership : alone;
    if (present.joint) {
        struct raft_membership left;
        membership_leave(&present, &left);
        append_membership(recovery, term, &left);
        present = left;
    }
    struct raft_membership first;
    if (!membership_enter(&present, &alone, &first)) {
        (void)snprintf(new->sentence, sizeof new->sentence,
                       "%s: its server is no member, and the cluster has as many as it can have",
                       survivor->path);
        return KV_ERR_REFUSED;
    }
    append_membership(recovery, term, &first);
    if (first.joint) {
        append_membership(recovery, term, &alone);
    }
    storage_vote(new->storage, term, survivor->identity.node_id);
    return store_flush(new);
}

static int copy(struct recovery *recovery)
{
    const struct identity *identity = &recovery->survivor.identity;
    struct store *new = &recovery->new;
    struct store *old = &recovery->old;
    struct storage_restored found;
    storage_restored(old->storage, &found);
    uint64_t snapshot = found.snapshot_index;
    uint64_t last = storage_last_index(old->storage);
    int err = store_open(new, recovery->renewal.making, new_cluster_id(recovery), identity->node_id,
                         found.founders);
    if (err == 0 && snapshot > 0) {
        err = copy_snapshot(recovery, snapshot);
    }
    if (err == 0) {
        err = store_copy_entries(new, old, snapshot + 1, last);
    }
    return err == 0 ? append_change(recovery, found.term + 1) : err;
}

/* 0, or why not, which was said. */
static int make(struct recovery *recovery)
{
    const struct survivor *survivor = &recovery->survivor;
    int err = store_open(&recovery->old, survivor->path, 0, survivor->identity.node_id,
                         (struct slice){0});
    const struct store *failed = &recovery->old;
    if (err == 0) {
        err = copy(recovery);
        int closing = store_close(&recovery->new);
        err = err != 0 ? err : closing;
        failed = &recovery->new;
    }
    int closing = store_close(&recovery->old);
    if (err == 0 && closing != 0) {
        err = closing;
        failed = &recovery->old;
    }
    if (err != 0) {
        (void)refuse(failed->sentence, RECOVER_FAILED);
    }
    return err;
}

static int finish(struct recovery *recovery, const char *path)
{
    if (renewal_finish(&recovery->renewal) != 0) {
        return refuse(recovery->renewal.sentence, RECOVER_FAILED);
    }
    struct survivor made;
    survivor_look(&made, path);
    if (made.unusable[0] != '\0') {
        return refuse(made.unusable, RECOVER_FAILED);
    }
    printf("%s: server %" PRIu64 " is the only one of the new cluster %016" PRIx64
           ", with everything up to entry %" PRIu64
           ".\nThe old files are in %s/before-recovery. Start the server; other servers join it "
           "with empty\ndirectories.\n",
           path, made.identity.node_id, made.identity.cluster_id, made.last_index, path);
    return RECOVER_DONE;
}

/* ---- one directory, with --yes ---- */

/* Where the others find the server; NULL, which was said: nobody knows. */
static const char *address_of(const struct survivor *survivor, const struct options *options)
{
    if (options_given(options, OPTION_BIND)) {
        return options_string(options, OPTION_BIND);
    }
    for (size_t i = 0; survivor->has_membership && i < survivor->membership.count; i++) {
        const struct raft_member *member = &survivor->membership.members[i];
        if (member->id == survivor->identity.node_id) {
            return member->address;
        }
    }
    (void)refuse("the directory does not say at which address its server is: give --bind",
                 RECOVER_USAGE);
    return NULL;
}

static int recover_afresh(struct recovery *recovery, const char *path,
                          const struct options *options)
{
    struct survivor *survivor = &recovery->survivor;
    survivor_look(survivor, path);
    survivor_print(survivor);
    if (survivor->unusable[0] != '\0') {
        return RECOVER_FAILED;
    }
    recovery->address = address_of(survivor, options);
    if (recovery->address == NULL) {
        return RECOVER_USAGE;
    }
    if (renewal_begin(&recovery->renewal) != 0) {
        return refuse(recovery->renewal.sentence, RECOVER_FAILED);
    }
    if (make(recovery) != 0) {
        return RECOVER_FAILED;
    }
    if (renewal_made(&recovery->renewal) != 0) {
        return refuse(recovery->renewal.sentence, RECOVER_FAILED);
    }
    return finish(recovery, path);
}

static int recover(const char *path, const struct options *options)
{
    struct recovery recovery = {0};
    bool unfinished = false;
    if (renewal_init(&recovery.renewal, path, "recovery", true) != 0 ||
        renewal_is_unfinished(&recovery.renewal, &unfinished) != 0) {
        return refuse(recovery.renewal.sentence, RECOVER_FAILED);
    }
    if (unfinished) {
        printf("%s: a recovery was interrupted; it goes on\n", path);
        return finish(&recovery, path);
    }
    return recover_afresh(&recovery, path, options);
}

/* ---- without --yes ---- */

static void print_plan(const struct survivor *best, size_t count)
{
    if (count > 1) {
        printf("\nGo on with %s: of those that can be used its log is the most recent, by the "
               "term\nof its last entry, then by its index. Look at every directory that is left "
               "before you choose.\n",
               best->path);
    }
    printf("\n\"kvapp recover --yes %s\" would make a new cluster of server %" PRIu64
           " alone, with all\nof its entries, and keep the old files in %s/before-recovery. Do "
           "this only when a majority\nof the members is lost for ever: if they come back, they "
           "and the new cluster know nothing of\neach other.\n",
           best->path, best->identity.node_id, best->path);
}

static bool are_of_one_cluster(const struct survivor *survivors, size_t count)
{
    for (size_t i = 1; i < count; i++) {
        if (survivors[i].unusable[0] == '\0' && survivors[0].unusable[0] == '\0' &&
            survivors[i].identity.cluster_id != survivors[0].identity.cluster_id) {
            return false;
        }
    }
    return true;
}

static int report(const struct options *options)
{
    size_t count = options->word_count;
    struct survivor *survivors = memory_new(count, sizeof *survivors);
    bool all_usable = true;
    for (size_t i = 0; i < count; i++) {
        survivor_look(&survivors[i], (const char *)options->words[i].data);
        survivor_print(&survivors[i]);
        all_usable = all_usable && survivors[i].unusable[0] == '\0';
    }
    const struct survivor *best = survivor_best(survivors, count);
    int exit_status = all_usable ? RECOVER_DONE : RECOVER_FAILED;
    if (!are_of_one_cluster(survivors, count)) {
        exit_status = refuse("the directories are of different clusters", RECOVER_FAILED);
    } else if (best != NULL) {
        print_plan(best, count);
    }
    free(survivors);
    return exit_status;
}

int recover_main(const struct options *options)
{
    if (options->word_count == 0) {
        return refuse("name the data directories that are left: kvapp recover DIR...",
                      RECOVER_USAGE);
    }
    if (options_number(options, OPTION_YES) == 0) {
        return report(options);
    }
    if (options->word_count != 1) {
        return refuse("--yes takes one directory, the one to go on with", RECOVER_USAGE);
    }
    return recover((const char *)options->words[0].data, options);
}
