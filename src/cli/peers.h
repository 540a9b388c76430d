/* How the members of a cluster look, and what a change of them means: as text or as JSON. */
#ifndef CLI_PEERS_H
#define CLI_PEERS_H

#include "cli/output.h"

/* NULL: not among them. */
const struct kvapp_peer *peers_find(const struct kvapp_peers *peers, uint64_t id);

void peers_print(struct output *output, const struct kvapp_peers *peers);

/* What a dry run found: the voters now, meanwhile and then, and how many of them may fail. */
void peers_print_plan(struct output *output, const struct kvapp_change_result *result);

/* A change was made; the members are those of now. */
void peers_print_changed(struct output *output, const struct kvapp_peers *peers);

#endif
