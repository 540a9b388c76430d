#include "app/survivor.h"

#include "wire/membership.h"

#include <inttypes.h>
#include <stdio.h>

/* ---- looking ---- */

static void take_membership(struct survivor *survivor, struct slice encoded, uint64_t index)
{
    if (membership_decode(encoded, &survivor->membership) == 0) {
        survivor->has_membership = true;
        survivor->membership_index = index;
    }
}

static void take_entry(void *context, const struct entry *entry)
{
    if (entry->kind == ENTRY_MEMBERSHIP) {
        take_membership(context, entry->payload, entry->index);
    }
}

static void judge(struct survivor *survivor, const struct inspection *inspection)
{
    char *why = survivor->unusable;
    size_t size = sizeof survivor->unusable;
    if (inspection->server_running) {
        (void)snprintf(why, size, "a server is running on it; stop it first");
        return;
    }
    for (size_t i = 0; i < inspection->finding_count && i < FINDINGS_MAX; i++) {
        const struct finding *finding = &inspection->findings[i];
        if (finding->verdict == VERDICT_REFUSED) {
            (void)snprintf(why, size, "a server refuses it: %s: %s", finding->file, finding->what);
            return;
        }
    }
    if (!inspection->has_identity) {
        (void)snprintf(why, size, "it has no IDENTITY");
    } else if (survivor->last_index == 0) {
        (void)snprintf(why, size, "no entry is in it");
    }
}

static void take_what_is_there(struct survivor *survivor, struct inspection *inspection)
{
    survivor->identity = inspection->identity;
    survivor->term = inspection->vote.term;
    survivor->outdated = inspection->vote.outdated;
    if (inspection->snapshot_chosen > 0) {
        const struct snapshot_file *newest =
            &inspection->snapshots[inspection->snapshot_chosen - 1];
        survivor->snapshot = newest->index;
        survivor->last_index = newest->index;
        survivor->last_term = newest->header.term;
        take_membership(survivor, buf_slice(&newest->membership), newest->index);
    } else if (inspection->founders.size > 0) {
        take_membership(survivor, buf_slice(&inspection->founders), 0);
    }
    if (inspection->last_index > survivor->last_index) {
        survivor->last_index = inspection->last_index;
        survivor->last_term = inspection->last_term;
        inspection_entries(inspection, survivor->snapshot + 1, inspection->last_index, UINT64_MAX,
                           take_entry, survivor);
    }
    if (survivor->term < survivor->last_term) {
        survivor->term = survivor->last_term;
    }
}

void survivor_look(struct survivor *survivor, const char *path)
{
    *survivor = (struct survivor){.path = path};
    struct inspection inspection;
    if (inspection_open(&inspection, path, survivor->unusable, sizeof survivor->unusable) != 0) {
        return;
    }
    inspection_read(&inspection);
    take_what_is_there(survivor, &inspection);
    judge(survivor, &inspection);
    inspection_done(&inspection);
}

/* ---- telling ---- */

static void print_members(const struct survivor *survivor)
{
    if (!survivor->has_membership) {
        printf("  members    none are written down\n");
        return;
    }
    struct buf encoded = {0};
    struct buf line = {0};
    membership_encode(&survivor->membership, &encoded);
    membership_describe(buf_slice(&encoded), &line);
    printf("  members    %.*s, as of ", (int)line.size, (const char *)line.data);
    if (survivor->membership_index == 0) {
        printf("the cluster's beginning\n");
    } else {
        printf("entry %" PRIu64 "\n", survivor->membership_index);
    }
    buf_done(&encoded);
    buf_done(&line);
}

/* A log does not say what was committed of it; only a snapshot is sure to hold nothing else. */
static void print_loss(const struct survivor *survivor)
{
    if (survivor->snapshot > 0) {
        printf("  committed  for sure up to entry %" PRIu64 ", which the snapshot holds\n",
               survivor->snapshot);
    }
    if (survivor->last_index > survivor->snapshot) {
        printf("  in doubt   entries %" PRIu64 " to %" PRIu64
               ": what a majority had of them was acknowledged; all would be kept\n",
               survivor->snapshot + 1, survivor->last_index);
    }
    printf("  lost       whatever was acknowledged behind entry %" PRIu64 "%s\n",
           survivor->last_index,
           survivor->outdated ? ", and there was more: this is an older copy" : "");
}

void survivor_print(const struct survivor *survivor)
{
    printf("%s\n", survivor->path);
    if (survivor->last_index > 0) {
        printf("  identity   node %" PRIu64 " of cluster %016" PRIx64 ", incarnation %016" PRIx64
               "\n",
               survivor->identity.node_id, survivor->identity.cluster_id,
               survivor->identity.incarnation);
        printf("  term       %" PRIu64 "\n", survivor->term);
        printf("  last       entry %" PRIu64 " of term %" PRIu64 "\n", survivor->last_index,
               survivor->last_term);
        print_members(survivor);
        print_loss(survivor);
    }
    if (survivor->unusable[0] != '\0') {
        printf("  unusable   %s\n", survivor->unusable);
    }
}

const struct survivor *survivor_best(const struct survivor *survivors, size_t count)
{
    const struct survivor *best = NULL;
    for (size_t i = 0; i < count; i++) {
        const struct survivor *one = &survivors[i];
        if (one->unusable[0] != '\0') {
            continue;
        }
        if (best == NULL || one->last_term > best->last_term ||
            (one->last_term == best->last_term && one->last_index > best->last_index)) {
            best = one;
        }
    }
    return best;
}
