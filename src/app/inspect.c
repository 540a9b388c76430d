/* kvapp inspect: the directory as text for people; as JSON see inspect_json.c. */
#include "app/inspect.h"

#include "base/memory.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>

enum { ENTRIES_SHOWN = 5, TIME_SIZE = 40 };

/* Which entries are asked for. */
struct shown {
    uint64_t from;
    uint64_t to;
    uint64_t limit;
};

/* What of the log is unused: behind its last batch in that segment. */
static uint64_t free_space(const struct log_segment *segment)
{
    return segment->readable ? segment->header.size - segment->end : 0;
}

/* ---- identity, lock, votes ---- */

static void print_founders(const struct inspection *inspection)
{
    if (inspection->founders.size == 0) {
        printf("  founders  none, the server joined others\n");
        return;
    }
    struct buf line = {0};
    membership_describe(buf_slice(&inspection->founders), &line);
    printf("  founders  %.*s\n", (int)line.size, (const char *)line.data);
    buf_done(&line);
}

static void print_identity(const struct inspection *inspection)
{
    if (!inspection->has_identity) {
        printf("  identity  missing\n");
    } else if (inspection->identity_err != 0) {
        printf("  identity  damaged\n");
    } else {
        const struct identity *identity = &inspection->identity;
        printf("  identity  node %" PRIu64 " of cluster %016" PRIx64 ", incarnation %016" PRIx64
               "\n",
               identity->node_id, identity->cluster_id, identity->incarnation);
        print_founders(inspection);
    }
    printf("  lock      %s\n", inspection->server_running
                                   ? "a server is running: what it is writing may look unfinished"
                                   : "free, no server is running");
}

static void print_vote(const struct vote *vote, bool counts)
{
    char voted_for[24] = "nobody";
    if (vote->voted_for != 0) {
        (void)snprintf(voted_for, sizeof voted_for, "%" PRIu64, vote->voted_for);
    }
    printf("  %10" PRIu64 "  %9s  %8" PRIu64 "  %12" PRIu64 "  %13" PRIu64 "  right%s\n",
           vote->term, voted_for, vote->sequence, vote->synced_sequence, vote->first_segment,
           counts ? ", this one counts" : "");
}

static void print_votes(const struct inspection *inspection)
{
    printf("\nVotes\n");
    if (!inspection->has_vote) {
        printf("  missing\n");
        return;
    }
    printf("  %6s  %10s  %9s  %8s  %12s  %13s  %s\n", "OFFSET", "TERM", "VOTED FOR", "RECORD",
           "SYNCED BATCH", "FIRST SEGMENT", "CHECKSUM");
    for (unsigned slot = 0; slot < 2; slot++) {
        printf("  %6u", slot * VOTE_SLOT_SPACING);
        if (inspection->slot_errs[slot] != 0) {
            printf("  wrong, see below\n");
        } else {
            print_vote(&inspection->slots[slot], (int)slot == inspection->vote_slot);
        }
    }
}

/* ---- the log ---- */

/* Whether something is wrong in the file. */
static bool has_findings(const struct inspection *inspection, const char *name)
{
    for (size_t i = 0; i < inspection->finding_count && i < FINDINGS_MAX; i++) {
        if (strcmp(inspection->findings[i].file, name) == 0) {
            return true;
        }
    }
    return false;
}

static void print_log(const struct inspection *inspection)
{
    printf("\nLog\n");
    if (inspection->segment_count == 0) {
        printf("  no segments\n");
        return;
    }
    printf("  %-20s  %11s  %8s  %8s  %-21s  %11s  %s\n", "FILE", "SIZE", "BATCHES", "ENTRIES",
           "INDEXES", "FREE", "CHECKSUMS");
    for (size_t i = 0; i < inspection->segment_count; i++) {
        const struct log_segment *segment = &inspection->segments[i];
        char name[SEGMENT_NAME_SIZE];
        char indexes[48] = "-";
        segment_name(segment->number, name);
        if (segment->entries > 0) {
            (void)snprintf(indexes, sizeof indexes, "%" PRIu64 "..%" PRIu64, segment->first_index,
                           segment->last_index);
        }
        printf("  %-20s  %11" PRIu64 "  %8" PRIu64 "  %8" PRIu64 "  %-21s  %11" PRIu64 "  %s%s\n",
               name, segment->file_size, segment->batches, segment->entries, indexes,
               free_space(segment), has_findings(inspection, name) ? "wrong, see below" : "right",
               segment->readable && segment->header.recycled ? " (recycled file)" : "");
    }
}

static void print_snapshot_members(const struct inspection *inspection)
{
    struct buf line = {0};
    for (size_t i = 0; i < inspection->snapshot_count; i++) {
        const struct snapshot_file *snapshot = &inspection->snapshots[i];
        if (snapshot->membership.size > 0) {
            buf_clear(&line);
            membership_describe(buf_slice(&snapshot->membership), &line);
            printf("  at %" PRIu64 ": members %.*s\n", snapshot->index, (int)line.size,
                   (const char *)line.data);
        }
    }
    buf_done(&line);
}

static void print_snapshots(const struct inspection *inspection)
{
    printf("\nSnapshots\n");
    if (inspection->snapshot_count == 0) {
        printf("  none\n");
        return;
    }
    printf("  %-25s  %11s  %10s  %6s  %8s  %12s  %-16s  %s\n", "FILE", "SIZE", "INDEX", "TERM",
           "CHUNKS", "UNCOMPRESSED", "DIGEST", "CHECKSUMS");
    for (size_t i = 0; i < inspection->snapshot_count; i++) {
        const struct snapshot_file *snapshot = &inspection->snapshots[i];
        char name[SNAPSHOT_NAME_SIZE];
        snapshot_name(snapshot->index, name);
        printf("  %-25s  %11" PRIu64 "  %10" PRIu64 "  %6" PRIu64 "  %8" PRIu64 "  %12" PRIu64
               "  %016" PRIx64 "  %s%s\n",
               name, snapshot->size, snapshot->index, snapshot->header.term, snapshot->chunks,
               snapshot->raw_size, snapshot->header.digest,
               snapshot->err == 0 ? "right" : "wrong, see below",
               i + 1 == inspection->snapshot_chosen ? ", this one counts" : "");
    }
    print_snapshot_members(inspection);
}

static void print_entry(void *context, const struct entry *entry)
{
    struct buf *line = context;
    char time[TIME_SIZE] = "-";
    time_t seconds = (time_t)(entry->time_ms / 1000);
    struct tm parts;
    if (gmtime_r(&seconds, &parts) != NULL) {
        size_t size = strftime(time, sizeof time, "%Y-%m-%dT%H:%M:%S", &parts);
        (void)snprintf(time + size, sizeof time - size, ".%03uZ",
                       (unsigned)(entry->time_ms % 1000));
    }
    buf_clear(line);
    entry_describe(entry, line);
    printf("  %10" PRIu64 "  %6" PRIu64 "  %-24s  %.*s\n", entry->index, entry->term, time,
           (int)line->size, (const char *)line->data);
}

static void print_entries(const struct inspection *inspection, const struct shown *shown)
{
    uint64_t first = inspection->first_index;
    uint64_t last = inspection->last_index;
    if (first == 0 || last < first) {
        printf("\nEntries\n  none\n");
        return;
    }
    printf("\nEntries %" PRIu64 " to %" PRIu64 ", last term %" PRIu64 " (--entries shows all)\n",
           first, last, inspection->last_term);
    printf("  %10s  %6s  %-24s  %s\n", "INDEX", "TERM", "TIME", "COMMAND");
    struct buf line = {0};
    inspection_entries(inspection, shown->from, shown->to, shown->limit, print_entry, &line);
    buf_done(&line);
}

/* ---- what is wrong ---- */

static void print_findings(const struct inspection *inspection)
{
    if (inspection->finding_count > 0) {
        printf("\nWrong\n");
    }
    for (size_t i = 0; i < inspection->finding_count && i < FINDINGS_MAX; i++) {
        const struct finding *finding = &inspection->findings[i];
        printf("  %s: ", finding->file);
        if (finding->has_offset) {
            printf("offset %" PRIu64 ": ", finding->offset);
        }
        printf("%s; a server %s\n", finding->what, verdict_clause(finding->verdict));
    }
    if (inspection->finding_count > FINDINGS_MAX) {
        printf("  ... and %zu more\n", inspection->finding_count - FINDINGS_MAX);
    }
    const char *notes = (const char *)inspection->notes.data;
    for (size_t at = 0; at < inspection->notes.size; at += strlen(notes + at) + 1) {
        printf("%s  %s\n", at == 0 ? "\nNotes\n" : "", notes + at);
    }
}

/* ---- the whole ---- */

/* Without any of these options the last few entries, with one of them those it names. */
static struct shown choose(const struct options *options, const struct inspection *inspection)
{
    bool ranged = options_number(options, OPTION_ENTRIES) != 0 ||
                  options_given(options, OPTION_FROM) || options_given(options, OPTION_TO);
    struct shown shown = {
        .from = 1, .to = UINT64_MAX, .limit = ranged ? UINT64_MAX : ENTRIES_SHOWN};
    if (options_given(options, OPTION_LIMIT)) {
        shown.limit = options_number(options, OPTION_LIMIT);
    }
    if (!ranged && inspection->last_index > shown.limit) {
        shown.from = inspection->last_index - shown.limit + 1;
    }
    if (options_given(options, OPTION_FROM)) {
        shown.from = options_number(options, OPTION_FROM);
    }
    if (options_given(options, OPTION_TO)) {
        shown.to = options_number(options, OPTION_TO);
    }
    return shown;
}

int inspect_main(const struct options *options)
{
    char error[OPTIONS_ERROR_SIZE];
    if (options->word_count != 1) {
        (void)fprintf(stderr, "kvapp inspect: name one data directory: kvapp inspect DIR\n");
        return INSPECT_USAGE;
    }
    bool both = options_given(options, OPTION_FROM) && options_given(options, OPTION_TO);
    if (both && options_number(options, OPTION_FROM) > options_number(options, OPTION_TO)) {
        (void)fprintf(stderr, "kvapp inspect: --from must not be greater than --to\n");
        return INSPECT_USAGE;
    }
    struct inspection inspection;
    if (inspection_open(&inspection, (const char *)options->words[0].data, error, sizeof error) !=
        0) {
        (void)fprintf(stderr, "kvapp inspect: %s\n", error);
        return INSPECT_USAGE;
    }
    inspection_read(&inspection);
    struct shown shown = choose(options, &inspection);
    if (options_number(options, OPTION_JSON) != 0) {
        inspection_print_json(&inspection, shown.from, shown.to, shown.limit);
    } else {
        printf("Data directory %s\n", inspection.path);
        print_identity(&inspection);
        print_votes(&inspection);
        print_snapshots(&inspection);
        print_log(&inspection);
        print_entries(&inspection, &shown);
        print_findings(&inspection);
    }
    int status = inspection.finding_count == 0 ? INSPECT_RIGHT : INSPECT_FINDINGS;
    inspection_done(&inspection);
    return status;
}
