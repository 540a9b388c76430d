#include "model.h"

#include "base/assert.h"
#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

void model_begin(struct model *model, const struct moment *now)
{
    model->at[0] = *now;
    /* What is found at the start is as good as stored. */
    model->at[0].ticket = 1;
    model->count = 1;
}

struct moment *model_now(struct model *model)
{
    return &model->at[model->count - 1];
}

bool model_full(const struct model *model)
{
    return model->count >= MODEL_MOMENTS_MAX - 4 ||
           model->at[model->count - 1].last >= MODEL_INDEX_MAX - 8;
}

static struct moment *next_moment(struct model *model)
{
    CHECK(model->count < MODEL_MOMENTS_MAX);
    struct moment *next = &model->at[model->count];
    *next = model->at[model->count - 1];
    next->ticket = 0;
    model->count++;
    return next;
}

void model_append(struct model *model, struct scene *scene, size_t payload_size)
{
    struct moment *next = next_moment(model);
    CHECK(next->last < MODEL_INDEX_MAX);
    next->terms[++next->last] = next->term;
    scene_append(scene, next->term, payload_size);
}

void model_truncate(struct model *model, struct scene *scene, uint64_t from)
{
    struct moment *next = next_moment(model);
    next->last = from - 1;
    storage_truncate(scene->storage, from);
}

void model_note_reset(struct model *model, uint64_t index, uint64_t term)
{
    struct moment *next = next_moment(model);
    CHECK(index <= MODEL_INDEX_MAX);
    for (uint64_t i = next->last + 1; i < index; i++) {
        next->terms[i] = 0;
    }
    next->last = index;
    next->terms[index] = term;
}

void model_reset(struct model *model, struct scene *scene, uint64_t index, uint64_t term)
{
    model_note_reset(model, index, term);
    storage_reset(scene->storage, index, term);
}

void model_vote(struct model *model, struct scene *scene, uint64_t term, uint64_t voted_for)
{
    struct moment *next = next_moment(model);
    next->term = term;
    next->voted_for = voted_for;
    storage_vote(scene->storage, term, voted_for);
}

void model_flush(struct model *model, struct scene *scene)
{
    scene_flush(scene);
    for (size_t i = model->count; i > 0 && model->at[i - 1].ticket == 0; i--) {
        model->at[i - 1].ticket = scene->ticket;
    }
}

/* The last moment that the ticket covers: what was stored at the least. */
static size_t stored_moment(const struct model *model, uint64_t stored)
{
    size_t at = 0;
    for (size_t i = 0; i < model->count; i++) {
        if (model->at[i].ticket != 0 && model->at[i].ticket <= stored) {
            at = i;
        }
    }
    return at;
}

/* The entries `first` and behind, and the one before, are those of the moment. */
static bool log_is_prefix(const struct moment *log, uint64_t first, const struct moment *moment)
{
    size_t size = (size_t)(log->last + 2 - first) * sizeof log->terms[0];
    return log->last <= moment->last &&
           memcmp(log->terms + first - 1, moment->terms + first - 1, size) == 0;
}

/* Completes the log with the entries below `first`, which were trimmed, and are what they were. */
static void check_log(const struct model *model, size_t from, uint64_t first, struct moment *now)
{
    uint64_t least = model->at[from].last;
    for (size_t i = from; i < model->count; i++) {
        if (model->at[i].last < least) {
            least = model->at[i].last;
        }
        if (now->last >= least && log_is_prefix(now, first, &model->at[i])) {
            memcpy(now->terms, model->at[i].terms, first * sizeof now->terms[0]);
            return;
        }
    }
    fail_msg("a log of %lu entries was found that never was", (unsigned long)now->last);
}

static void check_vote(const struct model *model, size_t from, const struct moment *now)
{
    uint64_t last_term = now->last == 0 ? 0 : now->terms[now->last];
    for (size_t i = from; i < model->count; i++) {
        const struct moment *moment = &model->at[i];
        bool lifted = last_term > moment->term && now->term == last_term && now->voted_for == 0;
        if ((now->term == moment->term && now->voted_for == moment->voted_for) || lifted) {
            return;
        }
    }
    fail_msg("a vote in term %lu was found that never was", (unsigned long)now->term);
}

static void take_runs(const struct storage_restored *restored, struct moment *ret_now)
{
    uint64_t index = restored->first_index;
    ret_now->terms[index - 1] = restored->previous_term;
    for (size_t i = 0; i < restored->run_count; i++) {
        for (uint64_t k = 0; k < restored->runs[i].count; k++) {
            ret_now->terms[index++] = restored->runs[i].term;
        }
    }
    assert_int_equal(index, restored->last_index + 1);
}

/* The encoding is of entry `index`: if it is a membership, it is the next of those restored. */
static void check_membership(const struct storage_restored *restored, size_t *at, uint64_t index,
                             struct slice encoded)
{
    struct entry entry;
    size_t size;
    assert_int_equal(entry_decode(encoded, &entry, &size), 0);
    if (entry.kind != ENTRY_MEMBERSHIP || index <= restored->snapshot_index) {
        return;
    }
    assert_true(*at < restored->membership_count);
    const struct storage_membership *membership = &restored->memberships[(*at)++];
    assert_int_equal(membership->index, index);
    assert_true(slice_equal(membership->payload, entry.payload));
}

/* Those of the log behind the snapshot, and no others. */
static void check_memberships(struct scene *scene)
{
    struct scene_read read = {0};
    struct storage_restored restored;
    storage_restored(scene->storage, &restored);
    size_t at = 0;
    for (uint64_t index = restored.first_index; index <= restored.last_index; index++) {
        struct slice encoded;
        if (storage_get(scene->storage, index, &encoded) != 0) {
            assert_int_equal(scene_read(scene, &read, index, index, 0), 0);
            encoded = buf_slice(&read.entries);
        }
        check_membership(&restored, &at, index, encoded);
    }
    assert_int_equal(at, restored.membership_count);
    buf_done(&read.entries);
}

void model_check(const struct model *model, struct scene *found, uint64_t stored,
                 struct moment *ret_now)
{
    struct storage_restored restored;
    storage_restored(found->storage, &restored);
    size_t from = stored_moment(model, stored);
    struct moment now = {
        .last = restored.last_index,
        .term = restored.term,
        .voted_for = restored.voted_for,
    };
    CHECK(now.last <= MODEL_INDEX_MAX);
    take_runs(&restored, &now);
    check_log(model, from, restored.first_index, &now);
    check_vote(model, from, &now);
    model_check_entries(&now, found, restored.first_index);
    check_memberships(found);
    *ret_now = now;
}

void model_check_entries(const struct moment *moment, struct scene *scene, uint64_t first)
{
    struct scene_read read = {0};
    assert_int_equal(storage_last_index(scene->storage), moment->last);
    uint64_t index = first;
    while (index <= moment->last) {
        struct slice encoded;
        if (storage_get(scene->storage, index, &encoded) == 0) {
            assert_int_equal(get_u64(encoded.data + ENTRY_TERM_OFFSET), moment->terms[index]);
            scene_check_made(encoded, index++);
            continue;
        }
        assert_true(index < storage_cached_from(scene->storage));
        assert_int_equal(scene_read(scene, &read, index, moment->last, 3000), 0);
        size_t at = 0;
        for (uint64_t i = 0; i < read.count; i++) {
            const uint8_t *entry = read.entries.data + at;
            assert_int_equal(get_u64(entry + ENTRY_TERM_OFFSET), moment->terms[index]);
            scene_check_made(slice_of(entry, read.entries.size - at), index++);
            at += entry_encoded_size(get_u32(entry + ENTRY_SIZE_OFFSET));
        }
        assert_int_equal(at, read.entries.size);
    }
    buf_done(&read.entries);
}
