#include "io/sim_names.h"

#include "base/assert.h"
#include "base/memory.h"

#include <stdlib.h>

/* Where the text is, or would be. */
static size_t place_of(const struct sim_names *names, const char *text, bool *ret_found)
{
    size_t low = 0;
    size_t high = names->count;
    *ret_found = false;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(names->at[middle].text, text);
        if (order == 0) {
            *ret_found = true;
            return middle;
        }
        if (order < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

struct sim_inode *sim_names_find(const struct sim_names *names, const char *text)
{
    bool found;
    size_t place = place_of(names, text, &found);
    return found ? names->at[place].inode : NULL;
}

void sim_names_set(struct sim_names *names, const char *text, struct sim_inode *inode)
{
    bool found;
    size_t place = place_of(names, text, &found);
    inode->references++;
    if (found) {
        struct sim_inode *old = names->at[place].inode;
        names->at[place].inode = inode;
        sim_inode_unref(old);
        return;
    }
    if (names->count == names->capacity) {
        names->capacity = names->capacity == 0 ? 8 : names->capacity * 2;
        names->at = memory_grow(names->at, names->capacity * sizeof *names->at);
    }
    memmove(names->at + place + 1, names->at + place, (names->count - place) * sizeof *names->at);
    names->at[place] = (struct sim_name){.text = memory_copy_string(text), .inode = inode};
    names->count++;
}

void sim_names_remove(struct sim_names *names, const char *text, const struct sim_inode *inode)
{
    bool found;
    size_t place = place_of(names, text, &found);
    if (!found || names->at[place].inode != inode) {
        return;
    }
    struct sim_name gone = names->at[place];
    names->count--;
    memmove(names->at + place, names->at + place + 1, (names->count - place) * sizeof *names->at);
    free(gone.text);
    sim_inode_unref(gone.inode);
}

void sim_names_done(struct sim_names *names)
{
    struct sim_names gone = *names;
    *names = (struct sim_names){0};
    for (size_t i = 0; i < gone.count; i++) {
        free(gone.at[i].text);
        sim_inode_unref(gone.at[i].inode);
    }
    free(gone.at);
}

void sim_names_copy(const struct sim_names *names, struct sim_names *ret_copy)
{
    CHECK(ret_copy->count == 0);
    for (size_t i = 0; i < names->count; i++) {
        sim_names_set(ret_copy, names->at[i].text, names->at[i].inode);
    }
}
