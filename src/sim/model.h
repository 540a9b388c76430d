/*
 * What a key-value store with sessions must answer: written from the description of the commands,
 * and on purpose without any of the code of src/kv. It remembers every version of every key, so
 * that a read can be judged at any index; that a key goes by its time is a version too, at the
 * first index whose time has reached it.
 */
#ifndef SIM_MODEL_H
#define SIM_MODEL_H

#include "kv/command.h"

struct model;

struct model_reply {
    int status;
    uint64_t revision;
    uint64_t count;
    struct slice data; /* until the next entry is applied */
    bool repeated; /* a session's write that had been applied before, or is too old to be known */
};

struct version {
    uint64_t index;
    bool present; /* false: the key was deleted, */
    bool expired; /* or its time had come */
    struct slice value;
    uint64_t expires_ms; /* by the entries' times; MODEL_NEVER: it does not */
};

#define MODEL_NEVER UINT64_MAX

/* A key that an entry made go by its time alone. */
struct model_expired {
    struct slice key;
    struct version before;
};

struct model *model_new(void);
void model_free(struct model *model);

/*
 * Applies entry `index`; `command` (empty for a no-op) stays in place as long as the model. The
 * time is the entry's: what counts is the largest so far.
 */
void model_apply(struct model *model, uint64_t index, uint64_t time_ms, struct slice command,
                 struct model_reply *ret_reply);

/* What the time of the entry that was applied last has ended; until the next one. */
size_t model_expired(const struct model *model, const struct model_expired **ret_expired);

/*
 * The version of the key as of `index`: NULL when it had never been there. *ret_until is the last
 * index at which that is still so (UINT64_MAX: up to now).
 */
const struct version *model_at(const struct model *model, struct slice key, uint64_t index,
                               uint64_t *ret_until);

/* The keys that ever were, in order. */
size_t model_key_count(const struct model *model);
struct slice model_key(const struct model *model, size_t i);

#endif
