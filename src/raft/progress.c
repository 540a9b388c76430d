#include "raft/progress.h"

#include "base/assert.h"

const char *progress_state_name(enum progress_state state)
{
    switch (state) {
    case PROGRESS_PROBE:
        return "probe";
    case PROGRESS_STREAM:
        return "stream";
    case PROGRESS_SNAPSHOT:
        return "snapshot";
    }
    return "unknown";
}

void progress_reset(struct progress *progress, uint64_t next, uint64_t now_ms)
{
    CHECK(next > 0);
    progress->state = PROGRESS_PROBE;
    progress->probe_last = 0;
    progress->match = 0;
    progress->next = next;
    progress->sending = 0;
    progress->lost = false;
    progress->repairing = false;
    progress->repair_heartbeats = 0;
    progress->heard_ms = now_ms;
    progress->round = 0;
    progress->lease_until_ms = 0;
    progress->window_head = 0;
    progress->window_count = 0;
}

bool progress_may_send(const struct progress *progress)
{
    switch (progress->state) {
    case PROGRESS_PROBE:
        return progress->probe_last == 0;
    case PROGRESS_STREAM:
        return progress->window_count < progress->window_capacity;
    case PROGRESS_SNAPSHOT:
        return false;
    }
    UNREACHABLE();
}

void progress_sent(struct progress *progress, uint64_t last)
{
    CHECK(progress_may_send(progress));
    CHECK(last >= progress->next);
    if (progress->state == PROGRESS_PROBE) {
        progress->probe_last = last;
        return;
    }
    size_t at = (progress->window_head + progress->window_count) % progress->window_capacity;
    progress->window[at] = last;
    progress->window_count++;
    progress->next = last + 1;
}

uint64_t progress_in_flight(const struct progress *progress, size_t i)
{
    CHECK(i < progress->window_count);
    return progress->window[(progress->window_head + i) % progress->window_capacity];
}

bool progress_succeeded(struct progress *progress, uint64_t prev, uint64_t match)
{
    if (progress->state == PROGRESS_PROBE &&
        (prev + 1 == progress->next || match + 1 >= progress->next)) {
        uint64_t probe_last = progress->probe_last;
        progress->state = PROGRESS_STREAM;
        progress->probe_last = 0;
        /* A heartbeat may have been answered before the probe, which is still on its way. */
        if (probe_last >= progress->next) {
            progress_sent(progress, probe_last);
        }
    }
    if (match <= progress->match) {
        return false;
    }
    progress->match = match;
    if (progress->next <= match) {
        progress->next = match + 1;
    }
    while (progress->window_count > 0 && progress->window[progress->window_head] <= match) {
        progress->window_head = (progress->window_head + 1) % progress->window_capacity;
        progress->window_count--;
    }
    return true;
}

bool progress_refused(const struct progress *progress, uint64_t prev)
{
    /* What is known to match cannot be missing, and nothing was asked beyond next - 1: when one
     * append is lost, all that were behind it in the window are refused, and one answer is
     * enough. A prober has asked exactly one question. */
    if (progress->state == PROGRESS_PROBE) {
        return prev + 1 == progress->next && prev > progress->match;
    }
    return progress->state == PROGRESS_STREAM && prev > progress->match && prev < progress->next;
}

bool progress_has_lost(const struct progress *progress, uint64_t prev)
{
    return progress->state != PROGRESS_SNAPSHOT && prev > 0 && prev == progress->match &&
           progress->next == progress->match + 1;
}

void progress_forget(struct progress *progress)
{
    progress->match = 0;
    progress->lost = true;
}

static void begin(struct progress *progress, enum progress_state state, uint64_t next)
{
    CHECK(next > progress->match);
    progress->state = state;
    progress->probe_last = 0;
    progress->next = next;
    progress->window_head = 0;
    progress->window_count = 0;
}

void progress_probe(struct progress *progress, uint64_t next)
{
    CHECK(next <= progress->next);
    begin(progress, PROGRESS_PROBE, next);
}

void progress_snapshot(struct progress *progress, uint64_t next)
{
    begin(progress, PROGRESS_SNAPSHOT, next);
}
