/* The client's commands that say how a key is written, and when it goes. */
#ifndef CLI_WRITE_H
#define CLI_WRITE_H

#include "cli/verbs.h"

enum exit_status write_run_put(struct cli *cli, const struct verb_call *call);
enum exit_status write_run_put_if(struct cli *cli, const struct verb_call *call);
enum exit_status write_run_incr(struct cli *cli, const struct verb_call *call);
enum exit_status write_run_append(struct cli *cli, const struct verb_call *call);
enum exit_status write_run_expire(struct cli *cli, const struct verb_call *call);
enum exit_status write_run_ttl(struct cli *cli, const struct verb_call *call);

#endif
