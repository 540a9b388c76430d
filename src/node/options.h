/* The checked form of a node's options: everything resolved, every rule held. */
#ifndef NODE_OPTIONS_H
#define NODE_OPTIONS_H

#include "base/members.h"
#include "kvapp/node.h"

struct node_config {
    uint64_t id;
    uint64_t cluster_id;         /* a hash of the list of members, as written; 0: to be asked for */
    char join[ADDRESS_SIZE_MAX]; /* whom to ask */
    struct members members;      /* of a new cluster */
    char address[ADDRESS_SIZE_MAX];        /* raft address of this server */
    char client_address[ADDRESS_SIZE_MAX]; /* raft port + offset */
    uint32_t client_port_offset;
    char data_dir[1024];
    struct kvapp_timing timing;
};

/* Checks `options`; KV_ERR_INVALID or KV_ERR_ADDRESS with a sentence for the user in `error`. */
int node_config_init(const struct kvapp_node_options *options, struct node_config *ret_config,
                     char *error, size_t error_size);

#endif
