/* The client's command backup: fetched into FILE.tmp, verified, and only then given its name. */
#ifndef CLI_BACKUP_H
#define CLI_BACKUP_H

#include "cli/verbs.h"

enum exit_status backup_run(struct cli *cli, const struct verb_call *call);

#endif
