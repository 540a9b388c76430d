/*
 * The operations on the map, behind the door that kv.c is: command_check has passed, and the
 * session, if there is one, has admitted the command. kv->room says how many bytes the reply's data
 * may have. The reply comes zeroed; its data are an item's, or in a buffer of the state's, and so
 * borrowed until the next operation.
 */
#ifndef KV_OPERATIONS_H
#define KV_OPERATIONS_H

#include "kv/map.h"

/* A write to the map, but no batch. What is refused has no effect. */
void write_apply(struct kv *kv, const struct command *command, struct reply *reply);

/* A read, but no batch and nothing about sessions. */
void read_answer(struct kv *kv, const struct command *command, struct reply *reply);

/* A BATCH or a READ_BATCH: its commands in order. */
void batch_run(struct kv *kv, const struct command *batch, struct reply *reply);

/* Whether the key is as the command expects it, with that item or NULL; else the reply says so. */
bool condition_holds(const struct command *command, const struct item *item, struct reply *reply);

#endif
