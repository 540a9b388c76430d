/*
 * A new server's first start with --join: it asks a member which cluster that is, and makes its
 * data directory for it. It knows no members then, so it neither votes nor campaigns, until a
 * leader to which it was added sends it the log.
 *
 *     empty directory ──► ask ──► cluster id ──► the directory is made ──► serving, and waiting
 */
#include "node/node.h"

#include <inttypes.h>

void join_start(struct kvapp_node *node)
{
    TRACE(&node->trace, TRACE_INFO, "asks the server at %s which cluster to join",
          node->config.join);
    link_init(&node->join, node, 0, node->config.join, PEER_JOIN);
    link_connect(&node->join);
}

void join_welcomed(struct kvapp_node *node, const struct peer_welcome *welcome)
{
    node->cluster_id = welcome->cluster_id;
    TRACE(&node->trace, TRACE_INFO,
          "joins cluster %016" PRIx64 " of node %" PRIu64 " at %s; when it is no member yet, it "
          "waits until `kvapp client --cluster %s member add %" PRIu64 "=%s` makes it one",
          welcome->cluster_id, welcome->id, node->config.join, node->config.join, node->config.id,
          node->config.address);
    node->join.leaving = true;
    link_close(&node->join, "it has answered");
    node_open_storage(node);
}
