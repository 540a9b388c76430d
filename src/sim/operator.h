/*
 * Somebody who works on the cluster while it is under faults: adds servers, promotes, removes,
 * replaces and moves them, and lets another one lead. Each command is a process of its own with the
 * client library, as `kvapp client member ...` is, on a host that faults reach like any client's.
 *
 * It is careful: it asks for nothing after which the cluster could not bear the disks that are
 * broken, and while it does not know what became of a change it takes nobody away. It starts the
 * servers that it adds, restarts those that move, and turns off some of those that it removed.
 */
#ifndef SIM_OPERATOR_H
#define SIM_OPERATOR_H

#include "kvapp/raft.h"
#include "sim/run.h"

struct operator;

struct operator* operator_new(struct simulation *simulation);
void operator_free(struct operator* operator);

/* FAULT_MEMBERSHIP or FAULT_TRANSFER: asks for something, if nothing of the kind is on its way. */
void operator_strike(struct operator* operator, enum simulation_fault kind);

/* One turn of its host; false: it is another one's. */
bool operator_turn(struct operator* operator, const struct sim_host * host);

/* No new commands; servers are still set right. */
void operator_heal(struct operator* operator);

/* Whether nothing that it asked for is without an answer. */
bool operator_is_idle(const struct operator* operator);

/* Whether a change that it asked for may still come to be. */
bool operator_is_in_doubt(const struct operator* operator);

struct sim_host *operator_host(const struct operator* operator);

#endif
