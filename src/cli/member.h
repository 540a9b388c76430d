/* The commands of who takes part in a cluster: member, leader and snapshot. */
#ifndef CLI_MEMBER_H
#define CLI_MEMBER_H

#include "cli/verbs.h"

enum exit_status member_run(struct cli *cli, const struct verb_call *call);
enum exit_status member_run_leader(struct cli *cli, const struct verb_call *call);
enum exit_status member_run_snapshot(struct cli *cli, const struct verb_call *call);

/* What `member` can do, a line each. */
void member_print_help(FILE *out);

#endif
