/* What the tab key offers: the commands, and the options of those that have some. */
#ifndef CLI_COMPLETION_H
#define CLI_COMPLETION_H

#include "base/bytes.h"

enum { COMPLETIONS_MAX = 32 };

struct completion {
    size_t word_size; /* bytes before the cursor that belong to the word */
    size_t count;
    const char *names[COMPLETIONS_MAX]; /* each begins with that word */
    size_t common_size;                 /* bytes that all of them begin with */
    bool whole; /* these are all of the first name: the only one, or one that others go on from */
};

/* Completes the word that ends the line, which is cut at the cursor. */
void completion_find(struct slice line, struct completion *ret_completion);

#endif
