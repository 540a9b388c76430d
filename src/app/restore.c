/*
 * A data directory out of a backup: the state is the file's, the members are those of the command
 * line, and the cluster is a new one.
 *
 * Its id comes from the file and the list of members, so every member that is restored from the
 * same file with the same list belongs to it, and no server of the old cluster does. Terms and
 * indexes go on where the backup was taken.
 */
#include "app/restore.h"

#include "app/inspect.h"
#include "app/renewal.h"
#include "app/store.h"
#include "base/hash.h"
#include "node/options.h"
#include "wire/membership.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

enum { RESTORE_DONE = 0, RESTORE_FAILED = 1, RESTORE_USAGE = 2 };

struct restoring {
    const char *file;
    const char *directory;
    struct node_config config;
    struct buf membership;
    struct snapshot_header header; /* of the backup, once it was read */
    uint64_t cluster_id;
    struct renewal renewal;
};

static int refuse(const char *sentence, int exit_status)
{
    (void)fprintf(stderr, "kvapp restore: %s\n", sentence);
    return exit_status;
}

static void encode_members(struct restoring *restoring)
{
    struct raft_membership membership;
    membership_of_list(&restoring->config.members, &membership);
    membership_encode(&membership, &restoring->membership);
}

/* The same for the same file and the same members; never 0 and never the old cluster's. */
static uint64_t new_cluster_id(const struct restoring *restoring)
{
    const struct snapshot_header *header = &restoring->header;
    uint64_t id = hash_bytes_seeded(restoring->membership.data, restoring->membership.size,
                                    header->salt ^ header->cluster_id);
    while (id == 0 || id == header->cluster_id) {
        id++;
    }
    return id;
}

/* ---- making the files ---- */

static int fill(struct restoring *restoring, struct store *store, struct snapshot_reading *reading)
{
    int err = store_take_snapshot(store, reading, buf_slice(&restoring->membership));
    if (err == 0) {
        storage_vote(store->storage, restoring->header.term, 0);
        err = store_flush(store);
    }
    return err;
}

/* 0, or why not, which was said. */
static int make(struct restoring *restoring)
{
    struct store store;
    struct snapshot_reading reading;
    char error[1024];
    int err = store_open(&store, restoring->renewal.making, restoring->cluster_id,
                         restoring->config.id, buf_slice(&restoring->membership));
    if (err == 0) {
        err = snapshot_reading_init_any(&reading, store.io, restoring->file, error, sizeof error);
        if (err == 0) {
            err = fill(restoring, &store, &reading);
            snapshot_walk_done(&reading.walk);
        } else {
            (void)snprintf(store.sentence, sizeof store.sentence, "%s", error);
        }
    }
    int closing = store_close(&store);
    err = err != 0 ? err : closing;
    if (err != 0) {
        (void)refuse(store.sentence, RESTORE_FAILED);
        return err;
    }
    err = renewal_made(&restoring->renewal);
    if (err != 0) {
        (void)refuse(restoring->renewal.sentence, RESTORE_FAILED);
    }
    return err;
}

static int finish(struct restoring *restoring)
{
    if (renewal_finish(&restoring->renewal) != 0) {
        return refuse(restoring->renewal.sentence, RESTORE_FAILED);
    }
    char error[1024];
    struct inspection inspection;
    if (inspection_open(&inspection, restoring->directory, error, sizeof error) != 0) {
        return refuse(error, RESTORE_FAILED);
    }
    const struct identity identity = inspection.identity;
    inspection_done(&inspection);
    if (identity.cluster_id != restoring->cluster_id || identity.node_id != restoring->config.id) {
        (void)snprintf(error, sizeof error,
                       "%s: an earlier restore, of another file, with other members or for another "
                       "server, had been interrupted and was finished now; empty the directory",
                       restoring->directory);
        return refuse(error, RESTORE_FAILED);
    }
    printf("%s: server %" PRIu64 " of the new cluster %016" PRIx64
           ", with everything up to revision %" PRIu64 "\n",
           restoring->directory, identity.node_id, identity.cluster_id, restoring->header.index);
    if (restoring->config.members.count > 1) {
        printf("Restore the other members from the same file with the same --cluster, then start "
               "all of them.\n");
    }
    return RESTORE_DONE;
}

/* ---- the way there ---- */

/* An unused directory, or one that an earlier restore was interrupted in. 0, or why not, which was
 * said. */
static int look_at_directory(struct restoring *restoring, bool *ret_unfinished)
{
    struct stat about;
    *ret_unfinished = false;
    if (stat(restoring->directory, &about) != 0) {
        return 0; /* It is made; what else is wrong with it shows then. */
    }
    struct renewal *renewal = &restoring->renewal;
    char *name = NULL;
    int err = renewal_is_unfinished(renewal, ret_unfinished);
    if (err == 0 && !*ret_unfinished) {
        err = renewal_begin(renewal);
        err = err != 0 ? err : renewal_find_name(renewal, &name);
    }
    if (err != 0) {
        (void)refuse(renewal->sentence, RESTORE_FAILED);
    } else if (name != NULL) {
        char error[1024];
        (void)snprintf(error, sizeof error,
                       "%s is not empty: %s is in it; a backup is restored into a directory of its "
                       "own",
                       restoring->directory, name);
        (void)refuse(error, RESTORE_FAILED);
        err = KV_ERR_INVALID;
    }
    free(name);
    return err;
}

/* Reads the file's header, on which the new cluster's id depends. */
static int read_header(struct restoring *restoring, char *error, size_t error_size)
{
    int err = snapshot_file_header(restoring->file, &restoring->header, error, error_size);
    if (err == 0) {
        restoring->cluster_id = new_cluster_id(restoring);
    }
    return err;
}

static int restore(struct restoring *restoring)
{
    char error[1024];
    if (read_header(restoring, error, sizeof error) != 0) {
        return refuse(error, RESTORE_FAILED);
    }
    if (renewal_init(&restoring->renewal, restoring->directory, "restore", false) != 0) {
        return refuse(restoring->renewal.sentence, RESTORE_USAGE);
    }
    bool unfinished;
    if (look_at_directory(restoring, &unfinished) != 0 || (!unfinished && make(restoring) != 0)) {
        return RESTORE_FAILED;
    }
    return finish(restoring);
}

int restore_main(const struct options *options)
{
    if (options->word_count != 1) {
        return refuse("name one backup: kvapp restore FILE", RESTORE_USAGE);
    }
    char error[OPTIONS_ERROR_SIZE];
    struct kvapp_node_options node;
    kvapp_node_options_init(&node);
    node.node_id = options_number(options, OPTION_NODE_ID);
    node.bind = options_string(options, OPTION_BIND);
    node.cluster = options_string(options, OPTION_CLUSTER);
    struct restoring restoring = {
        .file = (const char *)options->words[0].data,
        .directory = options_string(options, OPTION_DATA_DIR),
    };
    if (node_config_init(&node, &restoring.config, error, sizeof error) != 0) {
        return refuse(error, RESTORE_USAGE);
    }
    encode_members(&restoring);
    int exit_status = restore(&restoring);
    buf_done(&restoring.membership);
    return exit_status;
}
