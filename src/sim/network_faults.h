/* What goes wrong between hosts: partitions of all shapes, clients cut off, bad links. */
#ifndef SIM_NETWORK_FAULTS_H
#define SIM_NETWORK_FAULTS_H

#include "sim/run.h"

struct network_faults *network_faults_new(struct simulation *simulation);
void network_faults_free(struct network_faults *faults);

/* One of the kinds that concern the network strikes; what it does ends by itself. */
void network_strike(struct network_faults *faults, enum simulation_fault kind);

void network_heal(struct network_faults *faults);

#endif
