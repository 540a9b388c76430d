/*
 * What a storage was told, as a list of moments: after each append, truncation and vote, what the
 * log and the vote were. What is found after a crash must be one of the moments that the promises
 * allow.
 */
#ifndef TEST_STORAGE_MODEL_H
#define TEST_STORAGE_MODEL_H

#include "scene.h"

enum { MODEL_INDEX_MAX = 160, MODEL_MOMENTS_MAX = 512 };

struct moment {
    uint64_t last;
    uint64_t terms[MODEL_INDEX_MAX + 1]; /* by index */
    uint64_t term;
    uint64_t voted_for;
    uint64_t ticket; /* the first that flushed it; 0: none yet */
};

struct model {
    size_t count;
    struct moment at[MODEL_MOMENTS_MAX];
};

/* One moment: what is there now. */
void model_begin(struct model *model, const struct moment *now);
struct moment *model_now(struct model *model);
bool model_full(const struct model *model);

/* Each tells the scene's storage and the model the same. */
void model_append(struct model *model, struct scene *scene, size_t payload_size);
void model_truncate(struct model *model, struct scene *scene, uint64_t from);
/* A reset that storage makes by itself, at its next start. */
void model_note_reset(struct model *model, uint64_t index, uint64_t term);
void model_reset(struct model *model, struct scene *scene, uint64_t index, uint64_t term);
void model_vote(struct model *model, struct scene *scene, uint64_t term, uint64_t voted_for);
void model_flush(struct model *model, struct scene *scene);

/*
 * Checks what an opened storage restored after a crash at which `stored` was the newest ticket
 * reported: some moment at or behind that ticket, entries that were stored and never truncated
 * since all there. Fills in *ret_now with what was found.
 */
void model_check(const struct model *model, struct scene *found, uint64_t stored,
                 struct moment *ret_now);

/* Reads every entry, from the cache or the disk, and compares it with the moment. */
void model_check_entries(const struct moment *moment, struct scene *scene, uint64_t first);

#endif
