/*
 * Once nothing is wrong any more with a majority, everything works again within bounded time: a
 * leader within 10 election timeouts, requests answered within 20, followers caught up, at most
 * three terms begun, queues empty, digests equal. Runs the time that this takes.
 */
#ifndef SIM_LIVENESS_H
#define SIM_LIVENESS_H

#include "sim/run.h"

void liveness_check(struct simulation *simulation);

#endif
