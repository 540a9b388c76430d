/*
 * COMMAND and its subcommands: the table, told to a client. The shapes are those of redis-server
 * 7.0.15, of which it leaves out what the table does not have: tips, history, arguments.
 *
 * A command of COMMAND INFO:
 *
 *     name │ arity │ set of flags │ first key │ last key │ step │ set of categories │ set of tips
 *     │ set of key specifications │ subcommands, each the same again
 */
#include "wire/redis_table.h"

#include "base/assert.h"
#include "base/glob.h"

#include <stdio.h>

enum { SUBCOMMANDS_MAX = 16, NAME_SIZE_MAX = 64, CATEGORY_SIZE_MAX = 32 };

/* In the order in which Redis names them. */
static const struct {
    enum redis_flag flag;
    const char *name;
} flag_names[] = {
    {REDIS_WRITES, "write"},
    {REDIS_READS, "readonly"},
    {REDIS_DENYOOM, "denyoom"},
    {REDIS_ADMIN, "admin"},
    {REDIS_PUBSUB, "pubsub"},
    {REDIS_NOSCRIPT, "noscript"},
    {REDIS_LOADING, "loading"},
    {REDIS_STALE, "stale"},
    {REDIS_SKIP_SLOWLOG, "skip_slowlog"},
    {REDIS_FAST, "fast"},
    {REDIS_NO_AUTH, "no_auth"},
    {REDIS_NO_MULTI, "no_multi"},
    {REDIS_ALLOW_BUSY, "allow_busy"},
    {REDIS_MOVABLE_KEYS, "movablekeys"},
};

/* ---- words ---- */

/* The next of the categories, which blanks separate; false at the end. */
static bool next_category(const char **rest, struct slice *ret_category)
{
    const char *begin = *rest + strspn(*rest, " ");
    size_t size = strcspn(begin, " ");
    *rest = begin + size;
    *ret_category = slice_of(begin, size);
    return size > 0;
}

static bool is_subcommand(const struct redis_command *row)
{
    return strchr(row->name, '|') != NULL;
}

static bool is_subcommand_of(const struct redis_command *row, const struct redis_command *container)
{
    size_t size = strlen(container->name);
    return strncmp(row->name, container->name, size) == 0 && row->name[size] == '|';
}

/* ---- one command ---- */

static size_t subcommands_of(const struct redis_command *container,
                             const struct redis_command **subcommands)
{
    size_t count = 0;
    for (int id = 0; id < REDIS_ID_COUNT; id++) {
        const struct redis_command *row = redis_row((enum redis_id)id);
        if (is_subcommand_of(row, container)) {
            CHECK(count < SUBCOMMANDS_MAX);
            subcommands[count++] = row;
        }
    }
    return count;
}

static void put_flags(const struct redis_command *row, const struct resp_writer *writer)
{
    uint32_t known = 0;
    for (size_t i = 0; i < sizeof flag_names / sizeof flag_names[0]; i++) {
        known |= flag_names[i].flag;
    }
    resp_set(writer, (size_t)__builtin_popcount(row->flags & known));
    for (size_t i = 0; i < sizeof flag_names / sizeof flag_names[0]; i++) {
        if (row->flags & flag_names[i].flag) {
            resp_status(writer, flag_names[i].name);
        }
    }
}

static void put_categories(const struct redis_command *row, const struct resp_writer *writer)
{
    size_t count = 0;
    struct slice category;
    for (const char *rest = row->categories; next_category(&rest, &category);) {
        count++;
    }
    resp_set(writer, count);
    for (const char *rest = row->categories; next_category(&rest, &category);) {
        char name[CATEGORY_SIZE_MAX];
        int size =
            snprintf(name, sizeof name, "%.*s", (int)category.size, (const char *)category.data);
        CHECK(size > 0 && (size_t)size < sizeof name);
        resp_status(writer, name);
    }
}

/* Begins "type" and "spec" of how keys are searched or found; the specification's map follows. */
static void begin_search(const struct resp_writer *writer, const char *step, const char *type)
{
    resp_bulk_string(writer, step);
    resp_map(writer, 2);
    resp_bulk_string(writer, "type");
    resp_bulk_string(writer, type);
    resp_bulk_string(writer, "spec");
}

static void put_field(const struct resp_writer *writer, const char *name, int64_t value)
{
    resp_bulk_string(writer, name);
    resp_integer(writer, value);
}

/* All keys of a command as one range. What a write does to them is not told apart. */
static void put_key_specifications(const struct redis_command *row,
                                   const struct resp_writer *writer)
{
    if (row->first_key == 0) {
        resp_set(writer, 0);
        return;
    }
    bool writes = (row->flags & REDIS_WRITES) != 0;
    resp_set(writer, 1);
    resp_map(writer, 3);
    resp_bulk_string(writer, "flags");
    resp_set(writer, writes ? 3 : 2);
    resp_status(writer, writes ? "RW" : "RO");
    resp_status(writer, "access");
    if (writes) {
        resp_status(writer, "update");
    }
    begin_search(writer, "begin_search", "index");
    resp_map(writer, 1);
    put_field(writer, "index", row->first_key);
    begin_search(writer, "find_keys", "range");
    resp_map(writer, 3);
    /* From the first key on, when it is not from the end. */
    put_field(writer, "lastkey",
              row->last_key < 0 ? row->last_key : row->last_key - row->first_key);
    put_field(writer, "keystep", row->step);
    put_field(writer, "limit", 0);
}

/* All of it but the subcommands, which are no part of a subcommand's own either. */
static void put_info_alone(const struct redis_command *row, const struct resp_writer *writer)
{
    resp_array(writer, 10);
    resp_bulk_string(writer, row->name);
    resp_integer(writer, row->arity);
    put_flags(row, writer);
    resp_integer(writer, row->first_key);
    resp_integer(writer, row->last_key);
    resp_integer(writer, row->step);
    put_categories(row, writer);
    resp_set(writer, 0);
    put_key_specifications(row, writer);
}

static void put_info(const struct redis_command *row, const struct resp_writer *writer)
{
    put_info_alone(row, writer);
    const struct redis_command *subcommands[SUBCOMMANDS_MAX];
    size_t count = subcommands_of(row, subcommands);
    if (count == 0) {
        resp_set(writer, 0);
        return;
    }
    resp_array(writer, count);
    for (size_t i = 0; i < count; i++) {
        put_info_alone(subcommands[i], writer);
        resp_set(writer, 0);
    }
}

/* The name, and the map of what there is to say; `more` fields are still to come. */
static void put_docs_alone(const struct redis_command *row, size_t more,
                           const struct resp_writer *writer)
{
    const char *const fields[] = {
        "summary", row->summary, "since",      row->since,
        "group",   row->group,   "complexity", row->complexity,
    };
    size_t count = sizeof fields / sizeof fields[0];
    resp_bulk_string(writer, row->name);
    resp_map(writer, count / 2 + more);
    for (size_t i = 0; i < count; i++) {
        resp_bulk_string(writer, fields[i]);
    }
}

static void put_docs(const struct redis_command *row, const struct resp_writer *writer)
{
    const struct redis_command *subcommands[SUBCOMMANDS_MAX];
    size_t count = subcommands_of(row, subcommands);
    put_docs_alone(row, count > 0 ? 1 : 0, writer);
    if (count == 0) {
        return;
    }
    resp_bulk_string(writer, "subcommands");
    resp_map(writer, count);
    for (size_t i = 0; i < count; i++) {
        put_docs_alone(subcommands[i], 0, writer);
    }
}

/* ---- COMMAND ---- */

static size_t count_commands(void)
{
    size_t count = 0;
    for (int id = 0; id < REDIS_ID_COUNT; id++) {
        count += !is_subcommand(redis_row((enum redis_id)id));
    }
    return count;
}

static void put_every(void (*put)(const struct redis_command *, const struct resp_writer *),
                      const struct resp_writer *writer)
{
    for (int id = 0; id < REDIS_ID_COUNT; id++) {
        const struct redis_command *row = redis_row((enum redis_id)id);
        if (!is_subcommand(row)) {
            put(row, writer);
        }
    }
}

static void describe_info(const struct resp_request *request, const struct resp_writer *writer)
{
    if (request->count <= 2) {
        resp_array(writer, count_commands());
        put_every(put_info, writer);
        return;
    }
    resp_array(writer, request->count - 2);
    for (size_t i = 2; i < request->count; i++) {
        const struct redis_command *row = redis_find_name(request->words[i]);
        if (row == NULL) {
            resp_null(writer);
        } else {
            put_info(row, writer);
        }
    }
}

static void describe_docs(const struct resp_request *request, const struct resp_writer *writer)
{
    if (request->count <= 2) {
        resp_map(writer, count_commands());
        put_every(put_docs, writer);
        return;
    }
    size_t count = 0;
    for (size_t i = 2; i < request->count; i++) {
        count += redis_find_name(request->words[i]) != NULL;
    }
    resp_map(writer, count);
    for (size_t i = 2; i < request->count; i++) {
        const struct redis_command *row = redis_find_name(request->words[i]);
        if (row != NULL) {
            put_docs(row, writer);
        }
    }
}

static void describe_keys(const struct resp_request *request, const struct resp_writer *writer)
{
    struct resp_request inner = {.words = request->words + 2, .count = request->count - 2};
    const struct redis_command *row = redis_find(&inner);
    if (row == NULL) {
        resp_error(writer, "ERR Invalid command specified");
    } else if (row->first_key == 0) {
        resp_error(writer, "ERR The command has no key arguments");
    } else if (!redis_fits_arity(row, inner.count)) {
        resp_error(writer, "ERR Invalid number of arguments specified for command");
    } else {
        struct redis_key_range range = redis_key_range(row, inner.count);
        resp_array(writer, range.count);
        for (size_t i = 0; i < range.count; i++) {
            resp_bulk(writer, inner.words[range.first + i * range.step]);
        }
    }
}

/* ---- COMMAND LIST ---- */

static bool has_category(const struct redis_command *row, struct slice wanted)
{
    struct slice category;
    for (const char *rest = row->categories; next_category(&rest, &category);) {
        char name[CATEGORY_SIZE_MAX];
        int size = snprintf(name, sizeof name, "%.*s", (int)category.size - 1,
                            (const char *)category.data + 1);
        CHECK(size > 0 && (size_t)size < sizeof name);
        if (redis_word_is(wanted, name)) {
            return true;
        }
    }
    return false;
}

/* Without regard to case. */
static bool fits_pattern(const struct redis_command *row, struct slice pattern)
{
    struct buf lower = {0};
    for (size_t i = 0; i < pattern.size; i++) {
        uint8_t letter = pattern.data[i];
        buf_put_u8(&lower, letter >= 'A' && letter <= 'Z' ? (uint8_t)(letter + 'a' - 'A') : letter);
    }
    bool fits = glob_matches(buf_slice(&lower), slice_of_string(row->name));
    buf_done(&lower);
    return fits;
}

enum filter { FILTER_NONE, FILTER_MODULE, FILTER_CATEGORY, FILTER_PATTERN };

static bool passes(const struct redis_command *row, enum filter filter, struct slice argument)
{
    switch (filter) {
    case FILTER_NONE:
        return true;
    case FILTER_CATEGORY:
        return has_category(row, argument);
    case FILTER_PATTERN:
        return fits_pattern(row, argument);
    case FILTER_MODULE: /* There are no modules. */
        break;
    }
    return false;
}

static bool read_filter(const struct resp_request *request, enum filter *ret_filter,
                        struct slice *ret_argument)
{
    if (request->count == 2) {
        *ret_filter = FILTER_NONE;
        *ret_argument = slice_of(NULL, 0);
        return true;
    }
    if (request->count != 5 || !redis_word_is(request->words[2], "filterby")) {
        return false;
    }
    struct slice kind = request->words[3];
    if (redis_word_is(kind, "module")) {
        *ret_filter = FILTER_MODULE;
    } else if (redis_word_is(kind, "aclcat")) {
        *ret_filter = FILTER_CATEGORY;
    } else if (redis_word_is(kind, "pattern")) {
        *ret_filter = FILTER_PATTERN;
    } else {
        return false;
    }
    *ret_argument = request->words[4];
    return true;
}

/* Subcommands are listed too. */
static void describe_list(const struct resp_request *request, const struct resp_writer *writer)
{
    enum filter filter;
    struct slice argument;
    if (!read_filter(request, &filter, &argument)) {
        resp_error(writer, "ERR syntax error");
        return;
    }
    size_t count = 0;
    for (int id = 0; id < REDIS_ID_COUNT; id++) {
        count += passes(redis_row((enum redis_id)id), filter, argument);
    }
    resp_array(writer, count);
    for (int id = 0; id < REDIS_ID_COUNT; id++) {
        const struct redis_command *row = redis_row((enum redis_id)id);
        if (passes(row, filter, argument)) {
            resp_bulk_string(writer, row->name);
        }
    }
}

void redis_describe(const struct redis_command *row, const struct resp_request *request,
                    const struct resp_writer *writer)
{
    switch (row->id) {
    case REDIS_COMMAND:
    case REDIS_COMMAND_INFO:
        describe_info(request, writer);
        break;
    case REDIS_COMMAND_COUNT:
        resp_integer(writer, (int64_t)count_commands());
        break;
    case REDIS_COMMAND_DOCS:
        describe_docs(request, writer);
        break;
    case REDIS_COMMAND_GETKEYS:
        describe_keys(request, writer);
        break;
    case REDIS_COMMAND_LIST:
        describe_list(request, writer);
        break;
    default:
        UNREACHABLE();
    }
}
