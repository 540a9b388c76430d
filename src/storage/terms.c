#include "storage/terms.h"

#include "base/memory.h"

#include <stdlib.h>

void terms_reset(struct terms *terms, uint64_t first, uint64_t previous)
{
    CHECK(first > 0);
    terms->count = 0;
    terms->first = first;
    terms->next = first;
    terms->previous = previous;
}

void terms_done(struct terms *terms)
{
    free(terms->runs);
    *terms = (struct terms){0};
}

bool terms_add(struct terms *terms, uint64_t term)
{
    uint64_t last = terms_at(terms, terms->next - 1);
    if (term < last) {
        return false;
    }
    if (terms->count > 0 && term == last) {
        terms->runs[terms->count - 1].count++;
        terms->next++;
        return true;
    }
    if (terms->count == terms->capacity) {
        terms->capacity = terms->capacity == 0 ? 16 : terms->capacity * 2;
        terms->runs = memory_grow(terms->runs, terms->capacity * sizeof terms->runs[0]);
    }
    terms->runs[terms->count++] = (struct storage_run){.term = term, .count = 1};
    terms->next++;
    return true;
}

void terms_truncate(struct terms *terms, uint64_t from)
{
    CHECK(from >= terms->first);
    while (terms->next > from) {
        struct storage_run *run = &terms->runs[terms->count - 1];
        uint64_t gone = terms->next - from;
        if (run->count > gone) {
            run->count -= gone;
            terms->next = from;
            return;
        }
        terms->next -= run->count;
        terms->count--;
    }
}

void terms_trim(struct terms *terms, uint64_t first)
{
    CHECK(first >= terms->first);
    CHECK(first <= terms->next);
    terms->previous = terms_at(terms, first - 1);
    size_t gone = 0;
    while (terms->first < first) {
        struct storage_run *run = &terms->runs[gone];
        uint64_t wanted = first - terms->first;
        if (run->count > wanted) {
            run->count -= wanted;
            terms->first = first;
            break;
        }
        terms->first += run->count;
        gone++;
    }
    terms->count -= gone;
    for (size_t i = 0; i < terms->count; i++) {
        terms->runs[i] = terms->runs[i + gone];
    }
}

uint64_t terms_at(const struct terms *terms, uint64_t index)
{
    CHECK(index + 1 >= terms->first);
    CHECK(index < terms->next);
    /* Asked mostly for the newest entries. */
    uint64_t first = terms->next;
    for (size_t i = terms->count; i > 0; i--) {
        first -= terms->runs[i - 1].count;
        if (index >= first) {
            return terms->runs[i - 1].term;
        }
    }
    return terms->previous;
}
