/*
 * A full disk. The log goes on in its present segment as long as that has room (storage_is_full),
 * so nothing has to stop at once: a leader hands over, to a server that may have space, and refuses
 * what would use the room up. When that is gone, what is flushed waits: to Raft the disk stalls.
 *
 * Where all disks are full the servers would hand over in turns, so each does it now and then only.
 */
#include "node/node.h"

enum { HAND_OVER_PAUSE_US = 30 * 1000 * 1000 };

static void hand_over(struct kvapp_node *node)
{
    node->full.hand_over_us = io_now_us(node->io) + HAND_OVER_PAUSE_US;
    /* When there is nobody to hand over to, this server goes on leading. */
    (void)step_transfer(node, 0);
}

void full_step(struct kvapp_node *node)
{
    bool full = storage_is_full(node->storage);
    if (full && !node->full.is) {
        TRACE(&node->trace, TRACE_WARN,
              "the disk is full, there is no space for the log's next segment: as leader this "
              "server hands over or refuses puts; make room, and it goes on by itself");
    } else if (!full && node->full.is) {
        TRACE(&node->trace, TRACE_INFO, "the disk has space again");
    }
    node->full.is = full;
    if (full && node->role == RAFT_LEADER && io_now_us(node->io) >= node->full.hand_over_us) {
        hand_over(node);
    }
}

static bool takes_space(const struct command *command);

/* Whether one of a batch's commands does. */
static bool batch_takes_space(const struct command *batch)
{
    struct reader commands = reader_of(batch->commands);
    struct command command;
    while (command_next(&commands, &command)) {
        if (takes_space(&command)) {
            return true;
        }
    }
    return false;
}

/* Deletes go on, and what is about sessions: without these nobody could make room. */
static bool takes_space(const struct command *command)
{
    switch (command->operation) {
    case OPERATION_PUT:
    case OPERATION_ADD:
    case OPERATION_ADD_FLOAT:
    case OPERATION_APPEND:
    case OPERATION_SET_RANGE:
    case OPERATION_RENAME:
    case OPERATION_COPY:
        return true;
    case OPERATION_BATCH:
        return batch_takes_space(command);
    default:
        return false;
    }
}

bool full_refuses(struct kvapp_node *node, const struct waiter *waiter, struct slice bytes)
{
    if (!node->full.is || raft_transfer_target(node->raft) != 0) {
        return false;
    }
    struct command command;
    CHECK(command_decode(bytes, &command) == 0);
    if (!takes_space(&command)) {
        return false;
    }
    const struct reply reply = {.status = KV_ERR_FULL};
    reply_send(node, waiter, &reply,
               "the leader's disk is full: puts are refused until it has space again; reads and "
               "deletes go on");
    return true;
}
