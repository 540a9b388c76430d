/*
 * A client library without a cluster: the same calls on a sorted array in memory, and faults on
 * demand. Clients that share a loop share the array.
 */
#ifndef TEST_FAKE_CLIENT_H
#define TEST_FAKE_CLIENT_H

#include "kvapp/client.h"

enum fake_fault {
    FAKE_NO_FAULT,
    FAKE_FOREIGN_VALUE, /* reads give the value of another key */
    FAKE_STALE_VALUE,   /* reads give an older revision */
    FAKE_NOT_FOUND,     /* reads find nothing */
    FAKE_LOST_WRITE,    /* writes get revisions that were given before */
};

/* Every `period`th reply of kvapp_submit has the fault, for all clients made from now on. */
void fake_client_set_fault(enum fake_fault fault, uint64_t period);

/* The next call that asks the cluster fails so; 0: no more. */
void fake_client_fail(struct kvapp_client *client, int status, const char *detail);

/* The next write ends in doubt, as this one of a session. */
void fake_client_doubt(struct kvapp_client *client, uint64_t session, uint64_t sequence);

/* What kvapp_status gives. */
void fake_client_set_members(struct kvapp_client *client, const struct kvapp_member *members,
                             size_t count);

/* What kvapp_members gives, and, with the edits applied to it, kvapp_change. Each call of
 * kvapp_members lets every member store `growth` entries more, up to what the leader has. */
void fake_client_set_peers(struct kvapp_client *client, const struct kvapp_peers *peers,
                           uint64_t growth);

/* The next kvapp_change that is no dry run ends so; with KV_ERR_REFUSED it has a plan. */
void fake_client_refuse(struct kvapp_client *client, int status, const char *detail);

/* The changes so far, as text: "k4 p4r3" added node 4 as a kept learner, then promoted it and
 * removed node 3; '?' stands before a dry run and '!' before a forced one. */
const char *fake_client_changes(const struct kvapp_client *client);

/* How many pages were asked for, and the largest limit. */
uint64_t fake_client_pages(const struct kvapp_client *client);
uint32_t fake_client_limit_max(const struct kvapp_client *client);

#endif
