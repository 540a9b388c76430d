/* The members of the cluster as a table, or as one JSON object with `leader` and `members`. */
#ifndef CLI_STATUS_H
#define CLI_STATUS_H

#include "cli/output.h"

/* Who leads, as the members say: of those that answered, the newest term counts. 0: nobody. */
uint64_t status_leader(const struct kvapp_member *members, size_t count);

void status_print(struct output *output, const struct kvapp_member *members, size_t count);

#endif
