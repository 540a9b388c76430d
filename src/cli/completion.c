#include "cli/completion.h"

#include "cli/verbs.h"

#include "base/assert.h"

static void offer(struct completion *completion, struct slice word, const char *name)
{
    struct slice whole = slice_of_string(name);
    if (!slice_has_prefix(whole, word)) {
        return;
    }
    CHECK(completion->count < COMPLETIONS_MAX);
    if (completion->count == 0) {
        completion->common_size = whole.size;
    }
    const char *first = completion->count == 0 ? name : completion->names[0];
    size_t common = 0;
    while (common < completion->common_size && name[common] == first[common]) {
        common++;
    }
    completion->common_size = common;
    completion->names[completion->count++] = name;
}

static void offer_options(struct completion *completion, struct slice verb_name, struct slice word)
{
    const struct verb *verb = verb_find(verb_name);
    if (verb == NULL || verb->options == 0 || !slice_has_prefix(word, slice_of("--", 2))) {
        return;
    }
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        if ((option_table[i].owners & verb->options) != 0) {
            offer(completion, slice_of(word.data + 2, word.size - 2), option_table[i].name);
        }
    }
    completion->word_size -= 2;
}

void completion_find(struct slice line, struct completion *ret_completion)
{
    struct completion completion = {0};
    size_t begin = 0;
    while (begin < line.size && line.data[begin] == ' ') {
        begin++;
    }
    size_t word = line.size;
    while (word > begin && line.data[word - 1] != ' ') {
        word--;
    }
    completion.word_size = line.size - word;
    struct slice last = slice_of(line.data + word, completion.word_size);
    if (word == begin) {
        for (const struct verb *verb = verb_table; verb->name != NULL; verb++) {
            offer(&completion, last, verb->name);
            if (verb->other_name != NULL) {
                offer(&completion, last, verb->other_name);
            }
        }
    } else {
        size_t size = 0;
        while (line.data[begin + size] != ' ') {
            size++;
        }
        offer_options(&completion, slice_of(line.data + begin, size), last);
    }
    completion.whole =
        completion.count > 0 && strlen(completion.names[0]) == completion.common_size;
    *ret_completion = completion;
}
