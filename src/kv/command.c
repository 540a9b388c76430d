/*
 * The bytes of commands and replies, and the rules of what a command may contain. Both come from
 * one table with a row for each operation; the format is drawn in command.h.
 *
 * A command has a part when its flag is set. Encoding sets the flag of every part that the
 * operation needs and of every optional part that is not empty, so an optional part that was sent
 * empty decodes to the same command as one that was left out.
 */
#include "kv/command.h"

#include "base/assert.h"
#include "base/limits.h"

enum {
    COMMAND_RANGE = COMMAND_KEY | COMMAND_END | COMMAND_PREFIX,
    REPLY_MORE = 1 << 0,
};

enum {
    /* What an operation may be besides: in a batch; with a session; a range of keys. */
    IS_WRITE = 1 << 0,
    IS_RANGE = 1 << 1,
    BATCHED = 1 << 2,
};

struct operation_row {
    const char *name;
    uint16_t required; /* parts; of enum command_flag */
    uint16_t optional;
    uint16_t options; /* bits of enum command_option */
    uint8_t traits;
};

static const struct operation_row operations[] = {
    [OPERATION_GET] = {"get", COMMAND_KEY, 0, 0, BATCHED},
    [OPERATION_PUT] = {"put", COMMAND_KEY | COMMAND_VALUE,
                       COMMAND_SESSION | COMMAND_EXPECT | COMMAND_OPTIONS | COMMAND_EXPIRY,
                       OPTION_ABSENT | OPTION_PRESENT | OPTION_RETURN, IS_WRITE | BATCHED},
    [OPERATION_DELETE] = {"delete", COMMAND_KEY, COMMAND_SESSION | COMMAND_EXPECT | COMMAND_OPTIONS,
                          OPTION_RETURN, IS_WRITE | BATCHED},
    [OPERATION_LIST] = {"list", 0, COMMAND_LIMIT | COMMAND_RANGE, 0, IS_RANGE | BATCHED},
    [OPERATION_SCAN] = {"scan", 0, COMMAND_LIMIT | COMMAND_RANGE, 0, IS_RANGE | BATCHED},
    [OPERATION_DELETE_RANGE] = {"delete-range", 0, COMMAND_SESSION | COMMAND_RANGE, 0,
                                IS_WRITE | IS_RANGE | BATCHED},
    [OPERATION_OPEN_SESSION] = {"open-session", 0, 0, 0, IS_WRITE},
    [OPERATION_CLOSE_SESSION] = {"close-session", COMMAND_SESSION, 0, 0, IS_WRITE},
    [OPERATION_OUTCOME] = {"outcome", COMMAND_SESSION, 0, 0, 0},
    [OPERATION_ADD] = {"add", COMMAND_KEY | COMMAND_NUMBER, COMMAND_SESSION, 0, IS_WRITE | BATCHED},
    [OPERATION_ADD_FLOAT] = {"add-float", COMMAND_KEY | COMMAND_VALUE, 0, 0, IS_WRITE | BATCHED},
    [OPERATION_APPEND] = {"append", COMMAND_KEY | COMMAND_VALUE, COMMAND_SESSION, 0,
                          IS_WRITE | BATCHED},
    [OPERATION_SET_RANGE] = {"set-range", COMMAND_KEY | COMMAND_VALUE | COMMAND_NUMBER, 0, 0,
                             IS_WRITE | BATCHED},
    [OPERATION_EXPIRE] = {"expire", COMMAND_KEY | COMMAND_EXPIRY, COMMAND_SESSION | COMMAND_OPTIONS,
                          OPTION_UNLIMITED | OPTION_LIMITED | OPTION_LATER | OPTION_EARLIER |
                              OPTION_RETURN,
                          IS_WRITE | BATCHED},
    [OPERATION_RENAME] = {"rename", COMMAND_KEY | COMMAND_TARGET, COMMAND_OPTIONS, OPTION_ABSENT,
                          IS_WRITE | BATCHED},
    [OPERATION_COPY] = {"copy", COMMAND_KEY | COMMAND_TARGET, COMMAND_OPTIONS, OPTION_REPLACE,
                        IS_WRITE | BATCHED},
    [OPERATION_CLEAR] = {"clear", 0, 0, 0, IS_WRITE | BATCHED},
    [OPERATION_PURGE] = {"purge", 0, 0, 0, IS_WRITE},
    [OPERATION_BATCH] = {"batch", COMMAND_COMMANDS, COMMAND_SESSION, 0, IS_WRITE},
    [OPERATION_GUARD] = {"guard", COMMAND_KEY | COMMAND_NUMBER, COMMAND_EXPECT | COMMAND_OPTIONS,
                         OPTION_PRESENT, BATCHED},
    [OPERATION_STAT] = {"stat", COMMAND_KEY, 0, 0, BATCHED},
    [OPERATION_GET_RANGE] = {"get-range", COMMAND_KEY | COMMAND_NUMBER | COMMAND_LAST, 0, 0,
                             BATCHED},
    [OPERATION_COUNT] = {"count", 0, 0, 0, BATCHED},
    [OPERATION_RANDOM] = {"random", COMMAND_NUMBER, 0, 0, BATCHED},
    [OPERATION_MATCH] = {"match", COMMAND_PATTERN, COMMAND_KEY | COMMAND_LIMIT, 0, BATCHED},
    [OPERATION_LCS] = {"lcs", COMMAND_KEY | COMMAND_TARGET, COMMAND_OPTIONS | COMMAND_NUMBER,
                       OPTION_MATCHES, BATCHED},
    [OPERATION_READ_BATCH] = {"read-batch", COMMAND_COMMANDS, 0, 0, 0},
};

/* NULL for a number that is no operation; the argument may come from outside. */
static const struct operation_row *operation_row(unsigned operation)
{
    return operation < sizeof operations / sizeof operations[0] ? &operations[operation] : NULL;
}

bool operation_is_write(enum operation operation)
{
    const struct operation_row *row = operation_row(operation);
    return row != NULL && (row->traits & IS_WRITE) != 0;
}

const char *operation_name(enum operation operation)
{
    const struct operation_row *row = operation_row(operation);
    return row != NULL ? row->name : "unknown";
}

/* The parts that are not empty. */
static unsigned command_parts(const struct command *command)
{
    unsigned parts = 0;
    parts |= command->session != 0 ? COMMAND_SESSION : 0;
    parts |= command->has_expected ? COMMAND_EXPECT : 0;
    parts |= command->limit != 0 ? COMMAND_LIMIT : 0;
    parts |= command->key.size != 0 ? COMMAND_KEY : 0;
    parts |= command->value.size != 0 ? COMMAND_VALUE : 0;
    parts |= command->end.size != 0 ? COMMAND_END : 0;
    parts |= command->prefix.size != 0 ? COMMAND_PREFIX : 0;
    parts |= command->options != 0 ? COMMAND_OPTIONS : 0;
    parts |= command->expiry.kind != EXPIRY_NEVER || command->expiry.ms != 0 ? COMMAND_EXPIRY : 0;
    parts |= command->number != 0 ? COMMAND_NUMBER : 0;
    parts |= command->last != 0 ? COMMAND_LAST : 0;
    parts |= command->target.size != 0 ? COMMAND_TARGET : 0;
    parts |= command->pattern.size != 0 ? COMMAND_PATTERN : 0;
    parts |= command->commands.size != 0 ? COMMAND_COMMANDS : 0;
    return parts;
}

static void encode_later_parts(const struct command *command, unsigned parts, struct buf *out)
{
    if (parts & COMMAND_OPTIONS) {
        buf_put_u32(out, command->options);
    }
    if (parts & COMMAND_EXPIRY) {
        buf_put_u8(out, (uint8_t)command->expiry.kind);
        buf_put_u64(out, (uint64_t)command->expiry.ms);
    }
    if (parts & COMMAND_NUMBER) {
        buf_put_u64(out, (uint64_t)command->number);
    }
    if (parts & COMMAND_LAST) {
        buf_put_u64(out, (uint64_t)command->last);
    }
    if (parts & COMMAND_TARGET) {
        buf_put_sized(out, command->target);
    }
    if (parts & COMMAND_PATTERN) {
        buf_put_sized(out, command->pattern);
    }
    if (parts & COMMAND_COMMANDS) {
        buf_put_sized(out, command->commands);
    }
}

void command_encode(const struct command *command, struct buf *out)
{
    const struct operation_row *row = operation_row(command->operation);
    CHECK(row != NULL);
    unsigned parts = command_parts(command) | row->required;
    CHECK((parts & ~((unsigned)row->required | row->optional)) == 0);
    buf_put_u8(out, (uint8_t)command->operation);
    buf_put_u16(out, (uint16_t)parts);
    buf_put_u8(out, 0);
    if (parts & COMMAND_SESSION) {
        buf_put_u64(out, command->session);
        buf_put_u64(out, command->sequence);
        buf_put_u64(out, command->acknowledged);
    }
    if (parts & COMMAND_EXPECT) {
        buf_put_u64(out, command->expected_revision);
    }
    if (parts & COMMAND_LIMIT) {
        buf_put_u32(out, command->limit);
    }
    if (parts & COMMAND_KEY) {
        buf_put_sized(out, command->key);
    }
    if (parts & COMMAND_VALUE) {
        buf_put_sized(out, command->value);
    }
    if (parts & COMMAND_END) {
        buf_put_sized(out, command->end);
    }
    if (parts & COMMAND_PREFIX) {
        buf_put_sized(out, command->prefix);
    }
    encode_later_parts(command, parts, out);
}

/* Reads the parts named by the flags; what is not there stays as it is. */
static void command_read_parts(struct reader *reader, unsigned flags, struct command *command)
{
    if (flags & COMMAND_SESSION) {
        command->session = reader_u64(reader);
        command->sequence = reader_u64(reader);
        command->acknowledged = reader_u64(reader);
    }
    if (flags & COMMAND_EXPECT) {
        command->has_expected = true;
        command->expected_revision = reader_u64(reader);
    }
    if (flags & COMMAND_LIMIT) {
        command->limit = reader_u32(reader);
    }
    if (flags & COMMAND_KEY) {
        command->key = reader_sized(reader);
    }
    if (flags & COMMAND_VALUE) {
        command->value = reader_sized(reader);
    }
    if (flags & COMMAND_END) {
        command->end = reader_sized(reader);
    }
    if (flags & COMMAND_PREFIX) {
        command->prefix = reader_sized(reader);
    }
}

static void read_later_parts(struct reader *reader, unsigned flags, struct command *command)
{
    if (flags & COMMAND_OPTIONS) {
        command->options = reader_u32(reader);
    }
    if (flags & COMMAND_EXPIRY) {
        /* A number that is no kind is refused by command_check. */
        command->expiry.kind = (enum expiry_kind)reader_u8(reader);
        command->expiry.ms = (int64_t)reader_u64(reader);
    }
    if (flags & COMMAND_NUMBER) {
        command->number = (int64_t)reader_u64(reader);
    }
    if (flags & COMMAND_LAST) {
        command->last = (int64_t)reader_u64(reader);
    }
    if (flags & COMMAND_TARGET) {
        command->target = reader_sized(reader);
    }
    if (flags & COMMAND_PATTERN) {
        command->pattern = reader_sized(reader);
    }
    if (flags & COMMAND_COMMANDS) {
        command->commands = reader_sized(reader);
    }
}

int command_decode(struct slice bytes, struct command *ret_command)
{
    struct reader reader = reader_of(bytes);
    unsigned operation = reader_u8(&reader);
    unsigned flags = reader_u16(&reader);
    unsigned zero = reader_u8(&reader);
    if (reader.failed) {
        return KV_ERR_MALFORMED;
    }
    const struct operation_row *row = operation_row(operation);
    if (row == NULL) {
        return KV_ERR_COMMAND_UNKNOWN;
    }
    bool allowed = (flags & ~((unsigned)row->required | row->optional)) == 0;
    bool complete = (flags & row->required) == row->required;
    if (zero != 0 || !allowed || !complete) {
        return KV_ERR_MALFORMED;
    }
    struct command command = {.operation = (enum operation)operation};
    command_read_parts(&reader, flags, &command);
    read_later_parts(&reader, flags, &command);
    if (!reader_finished(&reader)) {
        return KV_ERR_MALFORMED;
    }
    *ret_command = command;
    return 0;
}

static int command_check_session(const struct command *command)
{
    if (command->session == 0) {
        bool unused = command->sequence == 0 && command->acknowledged == 0;
        return unused ? 0 : KV_ERR_INVALID;
    }
    if (command->operation == OPERATION_CLOSE_SESSION) {
        return 0;
    }
    if (command->operation == OPERATION_OUTCOME && command->acknowledged != 0) {
        return KV_ERR_INVALID;
    }
    /* Also refuses sequence 0, since nothing is below it. */
    return command->acknowledged < command->sequence ? 0 : KV_ERR_INVALID;
}

static int check_sizes(const struct operation_row *row, const struct command *command)
{
    size_t bound_size_max = (row->traits & IS_RANGE) != 0 || command->operation == OPERATION_MATCH
                                ? KEY_SIZE_MAX + 1
                                : KEY_SIZE_MAX;
    if (command->key.size > bound_size_max || command->end.size > bound_size_max ||
        command->prefix.size > KEY_SIZE_MAX || command->target.size > KEY_SIZE_MAX) {
        return KV_ERR_KEY_TOO_LARGE;
    }
    if (command->value.size > VALUE_SIZE_MAX) {
        return KV_ERR_VALUE_TOO_LARGE;
    }
    return command->pattern.size > PATTERN_SIZE_MAX ? KV_ERR_INVALID : 0;
}

/* That the options and the expiry mean something, and no two of them the contrary. */
static int check_options(const struct operation_row *row, const struct command *command)
{
    uint32_t options = command->options;
    bool both = (options & OPTION_ABSENT) != 0 && (options & OPTION_PRESENT) != 0;
    both = both || ((options & OPTION_LATER) != 0 && (options & OPTION_EARLIER) != 0);
    both = both || ((options & OPTION_UNLIMITED) != 0 &&
                    (options & (OPTION_LIMITED | OPTION_LATER | OPTION_EARLIER)) != 0);
    both = both || ((options & OPTION_RETURN) != 0 && command->session != 0);
    if ((options & ~(uint32_t)row->options) != 0 || both) {
        return KV_ERR_INVALID;
    }
    const struct expiry *expiry = &command->expiry;
    bool timed = expiry->kind == EXPIRY_AFTER || expiry->kind == EXPIRY_AT;
    if ((unsigned)expiry->kind >= EXPIRY_KINDS || (!timed && expiry->ms != 0) || expiry->ms < 0 ||
        (expiry->kind == EXPIRY_KEEP && command->operation != OPERATION_PUT)) {
        return KV_ERR_INVALID;
    }
    return 0;
}

/* What an operation's number, and what is special to it, may be. */
static int check_meaning(const struct operation_row *row, const struct command *command,
                         unsigned parts)
{
    bool is_write = (row->traits & IS_WRITE) != 0;
    bool is_range = (row->traits & IS_RANGE) != 0;
    if (is_write && is_range && (parts & COMMAND_RANGE) == 0) {
        return KV_ERR_INVALID;
    }
    switch (command->operation) {
    case OPERATION_SET_RANGE:
        return command->number < 0 ? KV_ERR_INVALID : 0;
    case OPERATION_GUARD:
        if (!command->has_expected && (command->options & OPTION_PRESENT) == 0) {
            return KV_ERR_INVALID;
        }
        return command->number < 1 ? KV_ERR_INVALID : 0;
    case OPERATION_LCS:
        return command->number < 0 ? KV_ERR_INVALID : 0;
    default:
        return 0;
    }
}

/* All but the commands of a batch. */
static int check_alone(const struct operation_row *row, const struct command *command)
{
    unsigned parts = command_parts(command);
    if ((parts & ~((unsigned)row->required | row->optional)) != 0) {
        return KV_ERR_INVALID;
    }
    if ((row->required & ~parts & COMMAND_SESSION) != 0) {
        return KV_ERR_INVALID;
    }
    if ((row->required & ~parts & (COMMAND_KEY | COMMAND_TARGET)) != 0) {
        return KV_ERR_KEY_EMPTY;
    }
    int err = check_meaning(row, command, parts);
    if (err == 0) {
        err = check_sizes(row, command);
    }
    if (err == 0) {
        err = check_options(row, command);
    }
    return err == 0 ? command_check_session(command) : err;
}

static int check_commands(const struct command *batch)
{
    bool may_write = batch->operation == OPERATION_BATCH;
    struct reader reader = reader_of(batch->commands);
    size_t count = 0;
    while (reader.left > 0) {
        struct command command;
        struct slice bytes = reader_sized(&reader);
        int err = reader.failed ? KV_ERR_MALFORMED : command_decode(bytes, &command);
        if (err != 0) {
            return err;
        }
        const struct operation_row *row = operation_row(command.operation);
        bool allowed = (row->traits & BATCHED) != 0 && command.session == 0 &&
                       (may_write || (row->traits & IS_WRITE) == 0);
        err = allowed ? check_alone(row, &command) : KV_ERR_INVALID;
        if (err != 0) {
            return err;
        }
        count++;
    }
    return count >= 1 && count <= BATCH_COUNT_MAX ? 0 : KV_ERR_INVALID;
}

int command_check(const struct command *command)
{
    const struct operation_row *row = operation_row(command->operation);
    if (row == NULL) {
        return KV_ERR_COMMAND_UNKNOWN;
    }
    if (command->operation == OPERATION_GUARD) {
        return KV_ERR_INVALID; /* Alone it guards nothing. */
    }
    int err = check_alone(row, command);
    bool is_batch = (row->required & COMMAND_COMMANDS) != 0;
    return err == 0 && is_batch ? check_commands(command) : err;
}

/* ---- batches ---- */

void command_encode_into_batch(const struct command *command, struct buf *commands)
{
    size_t at = commands->size;
    buf_put_u32(commands, 0);
    command_encode(command, commands);
    put_u32(commands->data + at, (uint32_t)(commands->size - at - 4));
}

bool command_next(struct reader *commands, struct command *ret_command)
{
    if (commands->left == 0) {
        return false;
    }
    int err = command_decode(reader_sized(commands), ret_command);
    CHECK(err == 0);
    return true;
}

/* ---- replies ---- */

void key_stat_encode(const struct key_stat *stat, struct buf *out)
{
    buf_put_u64(out, stat->create);
    buf_put_u64(out, stat->modify);
    buf_put_u64(out, stat->version);
    buf_put_u64(out, stat->expires_ms);
    buf_put_u64(out, stat->now_ms);
}

int key_stat_decode(struct slice bytes, struct key_stat *ret_stat)
{
    struct reader reader = reader_of(bytes);
    struct key_stat stat;
    stat.create = reader_u64(&reader);
    stat.modify = reader_u64(&reader);
    stat.version = reader_u64(&reader);
    stat.expires_ms = reader_u64(&reader);
    stat.now_ms = reader_u64(&reader);
    if (!reader_finished(&reader)) {
        return KV_ERR_MALFORMED;
    }
    *ret_stat = stat;
    return 0;
}

struct slice key_stat_later(struct slice bytes, uint64_t now_ms, uint8_t out[KEY_STAT_SIZE])
{
    struct key_stat stat;
    int err = key_stat_decode(bytes, &stat);
    CHECK(err == 0);
    memcpy(out, bytes.data, KEY_STAT_SIZE);
    if (now_ms > stat.now_ms) {
        put_u64(out + KEY_STAT_SIZE - 8, now_ms);
    }
    return slice_of(out, KEY_STAT_SIZE);
}

void lcs_match_encode(const struct lcs_match *match, struct buf *out)
{
    for (size_t side = 0; side < 2; side++) {
        buf_put_u32(out, match->first[side]);
        buf_put_u32(out, match->last[side]);
    }
}

bool lcs_match_next(struct reader *reader, struct lcs_match *ret_match)
{
    if (reader->left == 0) {
        return false;
    }
    for (size_t side = 0; side < 2; side++) {
        ret_match->first[side] = reader_u32(reader);
        ret_match->last[side] = reader_u32(reader);
    }
    return !reader->failed;
}

void reply_encode(const struct reply *reply, struct buf *out)
{
    CHECK(reply->status <= 0);
    buf_put_u32(out, (uint32_t)reply->status);
    buf_put_u8(out, reply->more ? REPLY_MORE : 0);
    buf_put_u8(out, 0);
    buf_put_u16(out, 0);
    buf_put_u64(out, reply->revision);
    buf_put_u64(out, reply->count);
    buf_put_sized(out, reply->data);
}

int reply_decode(struct slice bytes, struct reply *ret_reply)
{
    struct reader reader = reader_of(bytes);
    struct reply reply = {.status = (int32_t)reader_u32(&reader)};
    unsigned flags = reader_u8(&reader);
    unsigned zero = reader_u8(&reader);
    zero |= reader_u16(&reader);
    reply.more = (flags & REPLY_MORE) != 0;
    reply.revision = reader_u64(&reader);
    reply.count = reader_u64(&reader);
    reply.data = reader_sized(&reader);
    bool sound = reply.status <= 0 && (flags & ~(unsigned)REPLY_MORE) == 0 && zero == 0;
    if (!reader_finished(&reader) || !sound) {
        return KV_ERR_MALFORMED;
    }
    *ret_reply = reply;
    return 0;
}
