/*
 * The clients of Redis of a run: each a process on a host of its own that speaks to any server,
 * asks for one pipeline at a time, and goes to another server when it is answered with an error,
 * loses the connection, or feels like it.
 *
 *     IDLE ──connect──► CONNECTING ──► OPEN ──send──► answered ──pause──► send ...
 *       ▲                   │            │ lost, timed out, off to another server
 *       └───────────────────┴────────────┴─► CLOSING ──► IDLE
 */
#ifndef SIM_CALLERS_H
#define SIM_CALLERS_H

#include "sim/run.h"

struct callers;
struct sim_host;

enum { CALLERS_MAX = 2 };

struct callers *callers_new(struct simulation *simulation);
void callers_free(struct callers *callers);
size_t callers_count(const struct callers *callers);
void callers_begin(struct callers *callers);

/* One turn of a client's host; false: it is another one's. */
bool callers_turn(struct callers *callers, const struct sim_host *host);

/* A client dies and comes back. */
void callers_crash(struct callers *callers, size_t caller);
/* Starts every client that is down, at once. */
void callers_heal(struct callers *callers);
/* Every client asks for something, unless it waits for an answer. */
void callers_probe(struct callers *callers);
/* Pipelines without all of their answers. */
size_t callers_open(const struct callers *callers);
/* The longest time that a client waits. */
uint64_t callers_timeout_us(const struct callers *callers);
struct sim_host *callers_host(const struct callers *callers, size_t caller);

#endif
