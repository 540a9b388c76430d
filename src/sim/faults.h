/*
 * What goes wrong in a run: which faults are on, how often and how hard, is drawn from the seed
 * (swarm testing: a run with few kinds of faults gets deeper than one with all). A budget keeps
 * the cluster recoverable: only a minority of the disks is ever damaged.
 */
#ifndef SIM_FAULTS_H
#define SIM_FAULTS_H

#include "sim/run.h"

struct faults *faults_new(struct simulation *simulation);
void faults_free(struct faults *faults);

/* Those that are on: a set of 1 << enum simulation_fault. */
uint32_t faults_drawn(const struct faults *faults);

/* Nothing goes wrong from now on, and everything that is down starts. */
void faults_heal(struct faults *faults);

#endif
