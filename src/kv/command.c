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

struct operation_row {
    const char *name;
    uint8_t required; /* parts; of enum command_flag */
    uint8_t optional;
    bool is_write;
    bool is_range;
};

static const struct operation_row operations[] = {
    [OPERATION_GET] = {.name = "get", .required = COMMAND_KEY},
    [OPERATION_PUT] = {.name = "put",
                       .required = COMMAND_KEY | COMMAND_VALUE,
                       .optional = COMMAND_SESSION | COMMAND_EXPECT,
                       .is_write = true},
    [OPERATION_DELETE] = {.name = "delete",
                          .required = COMMAND_KEY,
                          .optional = COMMAND_SESSION | COMMAND_EXPECT,
                          .is_write = true},
    [OPERATION_LIST] = {.name = "list",
                        .optional = COMMAND_LIMIT | COMMAND_RANGE,
                        .is_range = true},
    [OPERATION_SCAN] = {.name = "scan",
                        .optional = COMMAND_LIMIT | COMMAND_RANGE,
                        .is_range = true},
    [OPERATION_DELETE_RANGE] = {.name = "delete-range",
                                .optional = COMMAND_SESSION | COMMAND_RANGE,
                                .is_write = true,
                                .is_range = true},
    [OPERATION_OPEN_SESSION] = {.name = "open-session", .is_write = true},
    [OPERATION_CLOSE_SESSION] = {.name = "close-session",
                                 .required = COMMAND_SESSION,
                                 .is_write = true},
    [OPERATION_OUTCOME] = {.name = "outcome", .required = COMMAND_SESSION},
};

/* NULL for a number that is no operation; the argument may come from outside. */
static const struct operation_row *operation_row(unsigned operation)
{
    return operation < sizeof operations / sizeof operations[0] ? &operations[operation] : NULL;
}

bool operation_is_write(enum operation operation)
{
    const struct operation_row *row = operation_row(operation);
    return row != NULL && row->is_write;
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
    return parts;
}

void command_encode(const struct command *command, struct buf *out)
{
    const struct operation_row *row = operation_row(command->operation);
    CHECK(row != NULL);
    unsigned parts = command_parts(command) | row->required;
    CHECK((parts & ~((unsigned)row->required | row->optional)) == 0);
    buf_put_u8(out, (uint8_t)command->operation);
    buf_put_u8(out, (uint8_t)parts);
    buf_put_u16(out, 0);
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

int command_decode(struct slice bytes, struct command *ret_command)
{
    struct reader reader = reader_of(bytes);
    unsigned operation = reader_u8(&reader);
    unsigned flags = reader_u8(&reader);
    unsigned zero = reader_u16(&reader);
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

int command_check(const struct command *command)
{
    const struct operation_row *row = operation_row(command->operation);
    if (row == NULL) {
        return KV_ERR_COMMAND_UNKNOWN;
    }
    unsigned parts = command_parts(command);
    if ((parts & ~((unsigned)row->required | row->optional)) != 0) {
        return KV_ERR_INVALID;
    }
    if ((row->required & ~parts & COMMAND_SESSION) != 0) {
        return KV_ERR_INVALID;
    }
    if ((row->required & ~parts & COMMAND_KEY) != 0) {
        return KV_ERR_KEY_EMPTY;
    }
    if (row->is_write && row->is_range && (parts & COMMAND_RANGE) == 0) {
        return KV_ERR_INVALID;
    }
    size_t bound_size_max = row->is_range ? KEY_SIZE_MAX + 1 : KEY_SIZE_MAX;
    if (command->key.size > bound_size_max || command->end.size > bound_size_max ||
        command->prefix.size > KEY_SIZE_MAX) {
        return KV_ERR_KEY_TOO_LARGE;
    }
    if (command->value.size > VALUE_SIZE_MAX) {
        return KV_ERR_VALUE_TOO_LARGE;
    }
    return command_check_session(command);
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
