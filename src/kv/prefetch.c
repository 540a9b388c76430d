/* What commands will look up, fetched from memory for many of them at once. */
#include "kv/kv.h"
#include "kv/state.h"

struct keys {
    struct slice at[TREE_PREFETCH_MAX];
    size_t count;
};

static void add(struct keys *keys, const struct command *command)
{
    if (command->key.size > 0 && keys->count < TREE_PREFETCH_MAX) {
        keys->at[keys->count] = command->key;
        keys->count++;
    }
}

size_t kv_prefetch(const struct kv *kv, const struct slice commands[], size_t count)
{
    struct keys keys;
    keys.count = 0;
    size_t looked_at = 0;
    for (; looked_at < count && keys.count < TREE_PREFETCH_MAX; looked_at++) {
        struct command command;
        if (command_decode(commands[looked_at], &command) != 0) {
            continue;
        }
        add(&keys, &command);
        struct reader batch = reader_of(command.commands);
        while (batch.left > 0 && command_decode(reader_sized(&batch), &command) == 0) {
            add(&keys, &command);
        }
    }
    tree_prefetch(kv->tree, keys.at, keys.count);
    return looked_at;
}
