/* kvapp verify: reads every byte, names what is wrong, and says what a server would do about it. */
#include "app/inspect.h"

#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

enum { PROGRESS_SIZE_MIN = 64 * 1024 * 1024 };

static void print_progress(const struct inspection *inspection)
{
    (void)fprintf(stderr, "\r%" PRIu64 " of %" PRIu64 " MiB ", inspection->bytes_read >> 20,
                  inspection->bytes_total >> 20);
    (void)fflush(stderr);
}

static void print_finding(const char *path, const struct finding *finding)
{
    printf("%s/%s: ", path, finding->file);
    if (finding->has_offset) {
        printf("offset %" PRIu64 ": ", finding->offset);
    }
    printf("%s; a server %s\n", finding->what, verdict_clause(finding->verdict));
}

/* "3 segments, 1979 batches, entries 1 to 4062, 50331648 bytes" */
static void print_totals(const struct inspection *inspection)
{
    if (inspection->snapshot_count > 0) {
        printf("%zu %s, ", inspection->snapshot_count,
               inspection->snapshot_count == 1 ? "snapshot" : "snapshots");
    }
    printf("%zu %s, %" PRIu64 " batches, ", inspection->segment_count,
           inspection->segment_count == 1 ? "segment" : "segments", inspection->batches);
    if (inspection->first_index == 0 || inspection->last_index < inspection->first_index) {
        printf("no entries");
    } else {
        printf("entries %" PRIu64 " to %" PRIu64, inspection->first_index, inspection->last_index);
    }
    printf(", %" PRIu64 " bytes\n", inspection->bytes_total);
}

static void print_verdict(const struct inspection *inspection)
{
    bool refused = false;
    size_t count = inspection->finding_count;
    for (size_t i = 0; i < count && i < FINDINGS_MAX; i++) {
        print_finding(inspection->path, &inspection->findings[i]);
        refused = refused || inspection->findings[i].verdict == VERDICT_REFUSED;
    }
    if (count > FINDINGS_MAX) {
        printf("... and %zu more\n", count - FINDINGS_MAX);
    }
    const char *notes = (const char *)inspection->notes.data;
    for (size_t at = 0; at < inspection->notes.size; at += strlen(notes + at) + 1) {
        printf("note: %s/%s\n", inspection->path, notes + at);
    }
    if (inspection->server_running) {
        printf("note: %s: a server is running on it; what it was writing meanwhile is not judged\n",
               inspection->path);
    }
    if (count == 0) {
        printf("%s: all is right: ", inspection->path);
    } else {
        printf("%s: %zu %s wrong: ", inspection->path, count,
               count == 1 ? "thing is" : "things are");
    }
    print_totals(inspection);
    if (refused) {
        printf(
            "Where only log or snapshots are wrong, a server of a cluster sets them aside when it "
            "starts, and the\nothers repair it. Else leave it stopped, the others go on without "
            "it; do not start it with an empty or\nan older directory, since it would vote "
            "without knowing what it has acknowledged.\n");
    }
}

int verify_main(const struct options *options)
{
    char error[OPTIONS_ERROR_SIZE];
    if (options->word_count != 1) {
        (void)fprintf(stderr, "kvapp verify: name one data directory: kvapp verify DIR\n");
        return INSPECT_USAGE;
    }
    struct inspection inspection;
    if (inspection_open(&inspection, (const char *)options->words[0].data, error, sizeof error) !=
        0) {
        (void)fprintf(stderr, "kvapp verify: %s\n", error);
        return INSPECT_USAGE;
    }
    bool shows = isatty(STDERR_FILENO) && inspection.bytes_total >= PROGRESS_SIZE_MIN;
    inspection.progress = shows ? print_progress : NULL;
    inspection_read(&inspection);
    if (shows) {
        (void)fprintf(stderr, "\r\033[K");
    }
    print_verdict(&inspection);
    int status = inspection.finding_count == 0 ? INSPECT_RIGHT : INSPECT_FINDINGS;
    inspection_done(&inspection);
    return status;
}
