/*
 * The tree against a plain sorted array. The array holds every key that the test may use, in
 * order, with the stamp of its present value, 0 for a key that is not there; so comparing with a
 * tree means walking both.
 */
#include "base/limits.h"
#include "base/memory.h"
#include "base/prng.h"
#include "kv/tree.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum {
    UNIVERSE = 20000,
    VALUE_ROOM = 4096,
    FROZEN_MAX = 4,
    OPERATIONS = 1000000,
};

/* ---- the model ---- */

struct model {
    struct slice *keys; /* ascending */
    size_t key_count;
    uint64_t *stamps; /* of each key: what its value and revisions are made from */
    uint64_t present;
};

static int order_of_keys(const void *a, const void *b)
{
    return slice_compare(*(const struct slice *)a, *(const struct slice *)b);
}

/* Keys that share long prefixes, that are prefixes of each other, of zeros and of 0xff. */
static struct slice random_key(struct prng *prng)
{
    static const char *const stems[] = {"", "user:", "user:0000000000000000", "\xff\xff\xff\xff",
                                        "a/very/long/path/to/some/place/"};
    uint8_t bytes[KEY_SIZE_MAX];
    const char *stem = stems[prng_between(prng, 0, 4)];
    size_t size = strlen(stem);
    memcpy(bytes, stem, size);
    size_t more = prng_chance(prng, 1, 500) ? prng_between(prng, 100, KEY_SIZE_MAX - size)
                                            : prng_between(prng, 1, 12);
    uint64_t kind = prng_between(prng, 0, 3);
    for (; more > 0; more--) {
        static const uint8_t few[] = {0x00, 0x01, 'a', 0xff};
        static const uint8_t two[] = {0x00, 0xff};
        bytes[size] = kind == 0   ? (uint8_t)prng_next(prng)
                      : kind == 1 ? few[prng_between(prng, 0, 3)]
                      : kind == 2 ? two[prng_between(prng, 0, 1)]
                                  : (uint8_t)prng_between(prng, '0', '9');
        size++;
    }
    uint8_t *copy = memory_new(1, size);
    memcpy(copy, bytes, size);
    return slice_of(copy, size);
}

static struct model model_new(struct prng *prng)
{
    struct model model = {.keys = memory_new(UNIVERSE, sizeof(struct slice)),
                          .stamps = memory_new(UNIVERSE, sizeof(uint64_t))};
    struct slice *all = memory_new(UNIVERSE, sizeof(struct slice));
    for (size_t i = 0; i < UNIVERSE; i++) {
        all[i] = random_key(prng);
    }
    qsort(all, UNIVERSE, sizeof all[0], order_of_keys);
    for (size_t i = 0; i < UNIVERSE; i++) {
        if (i > 0 && slice_equal(all[i], model.keys[model.key_count - 1])) {
            free((void *)(uintptr_t)all[i].data);
        } else {
            model.keys[model.key_count] = all[i];
            model.key_count++;
        }
    }
    free(all);
    return model;
}

static void model_free(struct model *model)
{
    for (size_t i = 0; i < model->key_count; i++) {
        free((void *)(uintptr_t)model->keys[i].data);
    }
    free(model->keys);
    free(model->stamps);
}

/* The first key at or after `rank` that is there; key_count: none. */
static size_t model_next(const struct model *model, const uint64_t *stamps, size_t rank)
{
    while (rank < model->key_count && stamps[rank] == 0) {
        rank++;
    }
    return rank;
}

/* ---- values made from stamps ---- */

static struct slice value_of(uint64_t stamp, uint8_t room[VALUE_ROOM])
{
    size_t size = stamp % 97 == 0 ? stamp % VALUE_ROOM : stamp % 24;
    for (size_t i = 0; i < size; i++) {
        room[i] = (uint8_t)(stamp >> (i % 8 * 8)) ^ (uint8_t)i;
    }
    return slice_of(room, size);
}

static struct item_facts facts_of(uint64_t stamp)
{
    return (struct item_facts){.create = stamp / 2, .modify = stamp, .version = stamp % 7 + 1};
}

static void assert_item(const struct item *item, struct slice key, uint64_t stamp)
{
    uint8_t room[VALUE_ROOM];
    assert_non_null(item);
    assert_true(slice_equal(item_key(item), key));
    assert_true(slice_equal(item_value(item), value_of(stamp, room)));
    struct item_facts expected = facts_of(stamp);
    assert_true(item->facts.create == expected.create);
    assert_true(item->facts.modify == expected.modify);
    assert_true(item->facts.version == expected.version);
}

static void assert_tree_is(const struct tree *tree, const struct model *model,
                           const uint64_t *stamps)
{
    struct tree_cursor cursor;
    tree_seek(tree, slice_of(NULL, 0), &cursor);
    uint64_t count = 0;
    for (size_t rank = model_next(model, stamps, 0); rank < model->key_count;
         rank = model_next(model, stamps, rank + 1)) {
        assert_item(tree_cursor_item(&cursor), model->keys[rank], stamps[rank]);
        tree_cursor_next(&cursor);
        count++;
    }
    assert_null(tree_cursor_item(&cursor));
    assert_true(tree_count(tree) == count);
}

/* ---- the random walk ---- */

struct walk {
    struct prng prng;
    struct model model;
    struct tree *tree;
    uint64_t stamp;
    struct tree *frozen[FROZEN_MAX];
    uint64_t *frozen_stamps[FROZEN_MAX];
};

/* A stamp above all before it; often one whose value has the size of the present one's. */
static uint64_t walk_stamp(struct walk *walk, uint64_t present)
{
    walk->stamp++;
    if (present != 0 && prng_chance(&walk->prng, 1, 2)) {
        while (walk->stamp % 24 != present % 24) {
            walk->stamp++;
        }
    }
    return walk->stamp;
}

static void walk_put(struct walk *walk, size_t rank)
{
    uint8_t room[VALUE_ROOM];
    uint64_t *stamp = &walk->model.stamps[rank];
    walk->model.present += *stamp == 0;
    *stamp = walk_stamp(walk, *stamp);
    struct item_facts facts = facts_of(*stamp);
    tree_put(walk->tree, walk->model.keys[rank], value_of(*stamp, room), &facts);
}

static void walk_delete(struct walk *walk, size_t rank)
{
    bool there = walk->model.stamps[rank] != 0;
    assert_int_equal(tree_delete(walk->tree, walk->model.keys[rank]), there);
    walk->model.present -= there;
    walk->model.stamps[rank] = 0;
}

static void walk_get(struct walk *walk, size_t rank)
{
    const struct item *item = tree_get(walk->tree, walk->model.keys[rank]);
    if (walk->model.stamps[rank] == 0) {
        assert_null(item);
    } else {
        assert_item(item, walk->model.keys[rank], walk->model.stamps[rank]);
    }
}

/* Goes on from a key, or from just behind it, in the live tree or a frozen one. */
static void walk_iterate(struct walk *walk, size_t rank)
{
    size_t which = prng_between(&walk->prng, 0, FROZEN_MAX);
    bool live = which == FROZEN_MAX || walk->frozen[which] == NULL;
    const struct tree *tree = live ? walk->tree : walk->frozen[which];
    const uint64_t *stamps = live ? walk->model.stamps : walk->frozen_stamps[which];
    uint8_t from[KEY_SIZE_MAX + 1];
    struct slice key = walk->model.keys[rank];
    memcpy(from, key.data, key.size);
    size_t behind = prng_between(&walk->prng, 0, 1);
    from[key.size] = 0;
    struct tree_cursor cursor;
    tree_seek(tree, slice_of(from, key.size + behind), &cursor);
    size_t at = model_next(&walk->model, stamps, rank);
    if (behind == 1 && at == rank) {
        at = model_next(&walk->model, stamps, rank + 1);
    }
    for (size_t left = prng_between(&walk->prng, 1, 80); left > 0; left--) {
        if (at == walk->model.key_count) {
            assert_null(tree_cursor_item(&cursor));
            return;
        }
        assert_item(tree_cursor_item(&cursor), walk->model.keys[at], stamps[at]);
        tree_cursor_next(&cursor);
        at = model_next(&walk->model, stamps, at + 1);
    }
}

/* Keys that are there, that are not, and that have a byte more or less: it only must not fall. */
static void walk_prefetch(struct walk *walk)
{
    struct slice keys[TREE_PREFETCH_MAX];
    size_t count = prng_between(&walk->prng, 0, TREE_PREFETCH_MAX);
    for (size_t i = 0; i < count; i++) {
        keys[i] = walk->model.keys[prng_between(&walk->prng, 0, walk->model.key_count - 1)];
        if (keys[i].size > 1 && prng_chance(&walk->prng, 1, 4)) {
            keys[i].size--;
        }
    }
    tree_prefetch(walk->tree, keys, count);
}

/* A frozen tree is compared with the array of its time before it goes. */
static void walk_thaw(struct walk *walk, size_t which)
{
    if (walk->frozen[which] != NULL) {
        assert_tree_is(walk->frozen[which], &walk->model, walk->frozen_stamps[which]);
        tree_check(walk->frozen[which]);
        tree_free(walk->frozen[which]);
        free(walk->frozen_stamps[which]);
        walk->frozen[which] = NULL;
        walk->frozen_stamps[which] = NULL;
    }
}

static void walk_freeze(struct walk *walk)
{
    size_t which = prng_between(&walk->prng, 0, FROZEN_MAX - 1);
    walk_thaw(walk, which);
    walk->frozen[which] = tree_freeze(walk->tree);
    walk->frozen_stamps[which] = memory_new(walk->model.key_count, sizeof(uint64_t));
    memcpy(walk->frozen_stamps[which], walk->model.stamps,
           walk->model.key_count * sizeof(uint64_t));
}

static void a_million_random_operations_agree_with_a_sorted_array(void **state)
{
    (void)state;
    uint64_t seed = 4711;
    print_message("# seed %llu\n", (unsigned long long)seed);
    struct walk walk = {.tree = tree_new()};
    prng_init(&walk.prng, seed);
    walk.model = model_new(&walk.prng);
    assert_true(walk.model.key_count > UNIVERSE / 2);
    for (uint64_t i = 0; i < OPERATIONS; i++) {
        size_t rank = prng_between(&walk.prng, 0, walk.model.key_count - 1);
        /* Grows nearly full and shrinks to a few keys in turns. */
        uint64_t puts = i / 100000 % 2 == 0 ? 50 : 5;
        uint64_t dice = prng_between(&walk.prng, 0, 99);
        if (dice < puts) {
            walk_put(&walk, rank);
        } else if (dice < 55) {
            walk_delete(&walk, rank);
        } else if (dice < 97) {
            walk_get(&walk, rank);
        } else {
            walk_iterate(&walk, rank);
        }
        if (prng_chance(&walk.prng, 1, 200)) {
            walk_prefetch(&walk);
        }
        if (prng_chance(&walk.prng, 1, 8000)) {
            walk_freeze(&walk);
        }
        if (i % 25000 == 24999) {
            tree_check(walk.tree);
            assert_tree_is(walk.tree, &walk.model, walk.model.stamps);
            assert_true(tree_count(walk.tree) == walk.model.present);
        }
    }
    for (size_t which = 0; which < FROZEN_MAX; which++) {
        walk_thaw(&walk, which);
    }
    tree_check(walk.tree);
    tree_free(walk.tree);
    model_free(&walk.model);
}

/* The heads alone lead to the key, or to the first of those that have its head. */
static void heads_lead_to_a_key_or_just_before_it(void **state)
{
    (void)state;
    struct prng prng;
    prng_init(&prng, 4713);
    struct model model = model_new(&prng);
    struct node *node = node_new(0);
    static const struct item_facts facts;
    for (size_t rank = 0; node->count < NODE_SLOTS; rank += model.key_count / NODE_SLOTS) {
        node_insert(node, node->count, item_new(model.keys[rank], slice_of(NULL, 0), &facts), NULL);
    }
    for (size_t rank = 0; rank < model.key_count; rank++) {
        bool equal;
        unsigned slot = node_search(node, model.keys[rank], &equal);
        unsigned by_heads = node_search_heads(node, model.keys[rank]);
        uint64_t head = key_head(model.keys[rank], node->skip);
        assert_true(by_heads <= slot);
        assert_true(by_heads == 0 || node->heads[by_heads - 1] < head);
        assert_true(by_heads == slot || node->heads[by_heads] == head);
    }
    node_unref(node);
    model_free(&model);
}

/* ---- orders of arrival ---- */

static struct slice numbered_key(uint64_t number, char room[32])
{
    int size = snprintf(room, 32, "key-%012llu", (unsigned long long)number);
    return slice_of(room, (size_t)size);
}

static void put_number(struct tree *tree, uint64_t number)
{
    char room[32];
    struct item_facts facts = {.create = number + 1, .modify = number + 1, .version = 1};
    tree_put(tree, numbered_key(number, room), slice_of("0123456789", 10), &facts);
}

static bool delete_number(struct tree *tree, uint64_t number)
{
    char room[32];
    return tree_delete(tree, numbered_key(number, room));
}

enum { ORDERED_COUNT = 6007 };

/* The number that comes at step i: going up, going down, in strides over all of them. */
static uint64_t number_in_order(int order, uint64_t i)
{
    switch (order) {
    case 0:
        return i;
    case 1:
        return ORDERED_COUNT - 1 - i;
    default:
        return i * 2503 % ORDERED_COUNT;
    }
}

static void keys_in_any_order_come_and_go(void **state)
{
    (void)state;
    for (int orders = 0; orders < 9; orders++) {
        struct tree *tree = tree_new();
        for (uint64_t i = 0; i < ORDERED_COUNT; i++) {
            put_number(tree, number_in_order(orders % 3, i));
            if (i % 500 == 0) {
                tree_check(tree);
            }
        }
        assert_true(tree_count(tree) == ORDERED_COUNT);
        for (uint64_t i = 0; i < ORDERED_COUNT; i++) {
            uint64_t number = number_in_order(orders / 3, i);
            assert_true(delete_number(tree, number));
            assert_false(delete_number(tree, number));
            if (i % 500 == 0 || i > ORDERED_COUNT - 70) {
                tree_check(tree);
            }
        }
        assert_true(tree_count(tree) == 0);
        tree_free(tree);
    }
}

/* What a cursor should find: by walking over everything. */
static const struct item *first_not_below(const struct tree *tree, struct slice key)
{
    struct tree_cursor cursor;
    tree_seek(tree, slice_of(NULL, 0), &cursor);
    const struct item *item = tree_cursor_item(&cursor);
    while (item != NULL && slice_compare(item_key(item), key) < 0) {
        tree_cursor_next(&cursor);
        item = tree_cursor_item(&cursor);
    }
    return item;
}

static void assert_seek(const struct tree *tree, struct slice key)
{
    struct tree_cursor cursor;
    tree_seek(tree, key, &cursor);
    assert_ptr_equal(tree_cursor_item(&cursor), first_not_below(tree, key));
}

/* All keys begin alike, until one after the other comes that does so less. */
static void keys_that_begin_otherwise_are_taken_in(void **state)
{
    (void)state;
    enum { COUNT = 5000 };
    static const char *const others[] = {"key-0000000", "key-0001", "key-", "kez",
                                         "k",           "a",        "\xff"};
    static const struct item_facts facts;
    struct tree *tree = tree_new();
    for (uint64_t i = 0; i < COUNT; i++) {
        put_number(tree, i);
    }
    struct tree *frozen = tree_freeze(tree);
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        struct slice key = slice_of_string(others[i]);
        assert_null(tree_get(tree, key));
        assert_false(tree_delete(tree, key));
        tree_prefetch(tree, &key, 1);
        assert_seek(tree, key);
        tree_put(tree, key, key, &facts);
        tree_check(tree);
        assert_true(slice_equal(item_value(tree_get(tree, key)), key));
        assert_true(tree_count(tree) == COUNT + i + 1);
        assert_seek(tree, key);
        assert_null(tree_get(frozen, key));
        assert_seek(frozen, key);
    }
    tree_check(frozen);
    tree_free(frozen);
    for (uint64_t i = 0; i < COUNT; i++) {
        char room[32];
        assert_non_null(tree_get(tree, numbered_key(i, room)));
        assert_true(delete_number(tree, i));
    }
    tree_check(tree);
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        assert_true(tree_delete(tree, slice_of_string(others[i])));
    }
    struct tree *empty = tree_new();
    assert_true(tree_memory(tree) == tree_memory(empty));
    tree_free(empty);
    put_number(tree, 1);
    tree_check(tree);
    assert_true(tree_count(tree) == 1);
    tree_free(tree);
}

static void an_empty_tree_has_nothing(void **state)
{
    (void)state;
    struct tree *tree = tree_new();
    struct tree_cursor cursor;
    tree_check(tree);
    assert_null(tree_get(tree, slice_of("a", 1)));
    assert_false(tree_delete(tree, slice_of("a", 1)));
    tree_seek(tree, slice_of(NULL, 0), &cursor);
    assert_null(tree_cursor_item(&cursor));
    assert_null(tree_pick(tree, 4712));
    assert_true(tree_count(tree) == 0);
    tree_free(tree);
    tree_free(NULL);
}

static void a_key_may_be_deleted_by_its_own_bytes(void **state)
{
    (void)state;
    struct tree *tree = tree_new();
    for (uint64_t i = 0; i < 1000; i++) {
        put_number(tree, i);
    }
    for (uint64_t left = 1000; left > 0; left--) {
        struct tree_cursor cursor;
        tree_seek(tree, slice_of(NULL, 0), &cursor);
        assert_true(tree_delete(tree, item_key(tree_cursor_item(&cursor))));
    }
    assert_true(tree_count(tree) == 0);
    tree_free(tree);
}

static void a_value_may_be_put_by_the_bytes_of_an_item(void **state)
{
    (void)state;
    enum { COUNT = 5000 };
    struct tree *tree = tree_new();
    for (uint64_t i = 0; i < COUNT; i++) {
        put_number(tree, i);
    }
    struct tree *frozen = tree_freeze(tree);
    struct item_facts facts = {.create = 1, .modify = 2, .version = 3, .expires_ms = 4};
    char room[32];
    for (uint64_t i = 0; i < 2 * COUNT; i++) {
        const struct item *item = tree_get(tree, numbered_key(i % COUNT, room));
        tree_put(tree, item_key(item), item_value(item), &facts);
        item = tree_get(tree, numbered_key(i % COUNT, room));
        assert_true(item->facts.expires_ms == 4);
        assert_true(slice_equal(item_value(item), slice_of("0123456789", 10)));
        tree_put(tree, numbered_key(i + COUNT, room), item_value(item), &facts);
    }
    tree_check(tree);
    assert_true(tree_get(frozen, numbered_key(0, room))->facts.expires_ms == 0);
    tree_free(frozen);
    tree_free(tree);
}

static void the_largest_keys_and_values_are_kept(void **state)
{
    (void)state;
    struct tree *tree = tree_new();
    uint8_t *bytes = memory_new(1, VALUE_SIZE_MAX);
    memset(bytes, 'x', VALUE_SIZE_MAX);
    struct item_facts facts = {.create = 1, .modify = 1, .version = 1};
    /* Each is a prefix of the next, so that no head tells them apart. */
    for (size_t size = TREE_KEY_SIZE_MAX; size > TREE_KEY_SIZE_MAX - 300; size--) {
        tree_put(tree, slice_of(bytes, size), slice_of(bytes, size), &facts);
    }
    tree_put(tree, slice_of(bytes, 1), slice_of(bytes, VALUE_SIZE_MAX), &facts);
    tree_check(tree);
    for (size_t size = TREE_KEY_SIZE_MAX; size > TREE_KEY_SIZE_MAX - 300; size--) {
        const struct item *item = tree_get(tree, slice_of(bytes, size));
        assert_non_null(item);
        assert_int_equal(item_value(item).size, size);
    }
    assert_int_equal(item_value(tree_get(tree, slice_of(bytes, 1))).size, VALUE_SIZE_MAX);
    assert_null(tree_get(tree, slice_of(bytes, 2)));
    assert_null(tree_get(tree, slice_of(bytes, TREE_KEY_SIZE_MAX + 1)));
    tree_free(tree);
    free(bytes);
}

/* ---- picking ---- */

/* How often each of `count` numbered keys is picked by so many random numbers. */
static unsigned *picks_of(uint64_t count, unsigned picks)
{
    struct tree *tree = tree_new();
    for (uint64_t i = 0; i < count; i++) {
        put_number(tree, number_in_order(2, i));
    }
    unsigned *picked = memory_new(ORDERED_COUNT, sizeof *picked);
    uint64_t seed = 4712;
    print_message("# seed %llu\n", (unsigned long long)seed);
    struct prng prng;
    prng_init(&prng, seed);
    for (unsigned i = 0; i < picks; i++) {
        uint64_t random = prng_next(&prng);
        const struct item *item = tree_pick(tree, random);
        assert_ptr_equal(item, tree_get(tree, item_key(item)));
        assert_ptr_equal(item, tree_pick(tree, random));
        picked[item->facts.create - 1]++;
    }
    tree_free(tree);
    return picked;
}

static void every_key_of_a_leaf_is_picked_as_often(void **state)
{
    (void)state;
    enum { COUNT = 10, PICKS = 10000 };
    unsigned *picked = picks_of(COUNT, PICKS);
    for (uint64_t i = 0; i < COUNT; i++) {
        assert_in_range(picked[number_in_order(2, i)], PICKS / COUNT * 8 / 10,
                        PICKS / COUNT * 12 / 10);
    }
    free(picked);
}

/* Of three levels, whose nodes are filled differently. */
static void every_key_of_a_tree_is_picked_about_as_often(void **state)
{
    (void)state;
    enum { MEAN = 100 };
    unsigned *picked = picks_of(ORDERED_COUNT, ORDERED_COUNT * MEAN);
    for (uint64_t i = 0; i < ORDERED_COUNT; i++) {
        assert_in_range(picked[i], MEAN / 5, MEAN * 5);
    }
    free(picked);
}

/* ---- freezing ---- */

static void a_frozen_tree_outlives_the_live_one(void **state)
{
    (void)state;
    struct tree *tree = tree_new();
    for (uint64_t i = 0; i < 5000; i++) {
        put_number(tree, i);
    }
    struct tree *frozen = tree_freeze(tree);
    struct tree *again = tree_freeze(frozen);
    for (uint64_t i = 0; i < 5000; i += 2) {
        assert_true(delete_number(tree, i));
    }
    assert_true(tree_count(tree) == 2500);
    tree_check(tree);
    tree_free(tree);
    assert_true(tree_count(frozen) == 5000);
    tree_check(frozen);
    tree_free(frozen);
    char room[32];
    for (uint64_t i = 0; i < 5000; i++) {
        const struct item *item = tree_get(again, numbered_key(i, room));
        assert_non_null(item);
        assert_true(item->facts.create == i + 1);
    }
    tree_free(again);
}

/* The live tree is written to all the while, also where what is being freed is shared with it. */
static void a_tree_is_released_in_steps_between_writes(void **state)
{
    (void)state;
    enum { COUNT = 20000, STEP = 7 };
    struct tree *tree = tree_new();
    for (uint64_t i = 0; i < COUNT; i++) {
        put_number(tree, i);
    }
    struct tree *frozen = tree_freeze(tree);
    for (uint64_t i = 0; i < COUNT; i += 2) {
        assert_true(delete_number(tree, i));
    }
    unsigned steps = 1;
    size_t nodes = STEP;
    for (uint64_t i = 1; !tree_release(frozen, &nodes); i = (i + 62) % COUNT) {
        assert_int_equal(nodes, 0);
        nodes = STEP;
        put_number(tree, i);
        (void)delete_number(tree, i + 1);
        steps++;
    }
    tree_check(tree);
    /* A leaf for each 62 keys at least, and none of them is shared. */
    assert_true(steps > COUNT / 62 / STEP);
    assert_true(steps < COUNT / 16 / STEP);
    tree_free(tree);
}

static void a_write_after_freezing_copies_only_its_path(void **state)
{
    (void)state;
    struct tree *tree = tree_new();
    for (uint64_t i = 0; i < 50000; i++) {
        put_number(tree, i);
    }
    struct tree *frozen = tree_freeze(tree);
    assert_ptr_equal(frozen->root, tree->root);
    put_number(tree, 25000);
    assert_ptr_not_equal(frozen->root, tree->root);
    unsigned same = 0;
    for (unsigned slot = 0; slot < tree->root->count; slot++) {
        same += tree->root->children[slot] == frozen->root->children[slot];
    }
    assert_int_equal(same, tree->root->count - 1);
    const struct node *root = tree->root;
    put_number(tree, 25000);
    assert_ptr_equal(tree->root, root);
    tree_free(frozen);
    tree_check(tree);
    tree_free(tree);
}

static void a_cursor_in_a_frozen_tree_survives_writes(void **state)
{
    (void)state;
    struct tree *tree = tree_new();
    for (uint64_t i = 0; i < 5000; i++) {
        put_number(tree, i);
    }
    struct tree *frozen = tree_freeze(tree);
    struct tree_cursor cursor;
    tree_seek(frozen, slice_of(NULL, 0), &cursor);
    char room[32];
    for (uint64_t i = 0; i < 5000; i++) {
        assert_true(slice_equal(item_key(tree_cursor_item(&cursor)), numbered_key(i, room)));
        assert_true(delete_number(tree, 4999 - i));
        tree_cursor_next(&cursor);
    }
    assert_null(tree_cursor_item(&cursor));
    tree_free(frozen);
    tree_free(tree);
}

/* ---- memory ---- */

static void memory_for_each_key_is_bounded_and_comes_back(void **state)
{
    (void)state;
    enum { COUNT = 100000, KEY_SIZE = 16, VALUE_SIZE = 100 };
    struct tree *tree = tree_new();
    uint64_t empty = tree_memory(tree);
    uint8_t key[KEY_SIZE];
    uint8_t value[VALUE_SIZE] = {0};
    struct item_facts facts = {.create = 1, .modify = 1, .version = 1};
    struct prng prng;
    prng_init(&prng, 99);
    for (uint64_t i = 0; i < COUNT; i++) {
        put_u64(key, prng_next(&prng));
        put_u64(key + 8, prng_next(&prng));
        tree_put(tree, slice_of(key, KEY_SIZE), slice_of(value, VALUE_SIZE), &facts);
    }
    uint64_t overhead = tree_memory(tree) / COUNT - KEY_SIZE - VALUE_SIZE;
    print_message("# %llu bytes for each key beyond key and value\n", (unsigned long long)overhead);
    assert_in_range(overhead, 50, 90);
    prng_init(&prng, 99);
    for (uint64_t i = 0; i < COUNT; i++) {
        put_u64(key, prng_next(&prng));
        put_u64(key + 8, prng_next(&prng));
        assert_true(tree_delete(tree, slice_of(key, KEY_SIZE)));
    }
    assert_true(tree_memory(tree) == empty);
    tree_free(tree);
}

static void keys_in_order_fill_nodes_to_three_quarters(void **state)
{
    (void)state;
    enum { COUNT = 50000 };
    struct tree *tree = tree_new();
    for (uint64_t i = 0; i < COUNT; i++) {
        put_number(tree, i);
    }
    uint64_t items = item_footprint(16, 10) * COUNT;
    uint64_t leaves = (tree_memory(tree) - items) / node_footprint(0);
    /* Half full they would be more than 1600; separators and inner nodes are counted in. */
    assert_in_range(leaves, COUNT / NODE_SLOTS, COUNT / 40);
    tree_free(tree);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_tree_has_nothing),
        cmocka_unit_test(keys_in_any_order_come_and_go),
        cmocka_unit_test(keys_that_begin_otherwise_are_taken_in),
        cmocka_unit_test(heads_lead_to_a_key_or_just_before_it),
        cmocka_unit_test(a_million_random_operations_agree_with_a_sorted_array),
        cmocka_unit_test(a_key_may_be_deleted_by_its_own_bytes),
        cmocka_unit_test(a_value_may_be_put_by_the_bytes_of_an_item),
        cmocka_unit_test(the_largest_keys_and_values_are_kept),
        cmocka_unit_test(every_key_of_a_leaf_is_picked_as_often),
        cmocka_unit_test(every_key_of_a_tree_is_picked_about_as_often),
        cmocka_unit_test(a_frozen_tree_outlives_the_live_one),
        cmocka_unit_test(a_tree_is_released_in_steps_between_writes),
        cmocka_unit_test(a_write_after_freezing_copies_only_its_path),
        cmocka_unit_test(a_cursor_in_a_frozen_tree_survives_writes),
        cmocka_unit_test(memory_for_each_key_is_bounded_and_comes_back),
        cmocka_unit_test(keys_in_order_fill_nodes_to_three_quarters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
