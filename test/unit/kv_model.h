/*
 * A model of the map that is as simple as can be: an array of keys, each searched for from end to
 * end, and every operation once more from its description.
 */
#ifndef TEST_KV_MODEL_H
#define TEST_KV_MODEL_H

#include "kv/command.h"
#include "kv/item.h"

enum { MODEL_KEYS = 40 };

struct model_entry {
    char name[8]; /* "k-00", ... */
    bool stored;
    struct item_facts facts;
    struct buf value;
};

struct model {
    uint64_t index;
    uint64_t time_ms;
    struct model_entry entries[MODEL_KEYS];
    struct buf data; /* of the last reply */
};

struct model *model_new(void);
void model_free(struct model *model);

/* The entry of a key. */
struct model_entry *model_entry(struct model *model, struct slice key);

/* Stored, and its time has not come. */
bool model_has(const struct model *model, const struct model_entry *entry);

uint64_t model_count_stored(const struct model *model);

/* The stored key that goes first; NULL: none expires. */
struct model_entry *model_first_to_go(struct model *model);

/* Removes up to so many keys whose time has come. */
uint64_t model_purge(struct model *model, uint64_t count_max);

/* Carries out one command that is no batch. The data are borrowed until the next one. */
struct reply model_carry_out(struct model *model, const struct command *command);

#endif
