/*
 * A backup: the file of a snapshot that the leader takes for it, fetched piece by piece. A backup
 * belongs to the connection on which it was begun, and there is one on a connection at a time.
 *
 *     BackupRequest   request_id u64 │ action u32 │ size u32 │ offset u64
 *     BackupResponse  request_id u64 │ index u64 │ term u64 │ file_size u64 │ offset u64
 *                     │ bytes (size u32, bytes)
 *
 * begin ──► the leader makes sure that it leads, then takes a snapshot of all that was committed
 * read  ──► a piece of the file; while it is not there yet, an answer with file_size 0
 * end   ──► the server closes the file
 *
 * What goes wrong is answered by a ClientResponse, and a server that does not lead answers `begin`
 * by a LeaderRedirect (wire/native.h).
 */
#ifndef WIRE_BACKUP_H
#define WIRE_BACKUP_H

#include "wire/native.h"

enum { BACKUP_PIECE_SIZE_MAX = 256 * 1024 };

enum backup_action {
    BACKUP_BEGIN = 0, /* an earlier one of the connection is given up */
    BACKUP_READ = 1,
    BACKUP_END = 2,
    BACKUP_ACTION_COUNT,
};

struct backup_request {
    uint64_t request_id;
    enum backup_action action;
    uint32_t size;   /* of a read: at least 1, at most BACKUP_PIECE_SIZE_MAX */
    uint64_t offset; /* of a read */
};

/* All but the request id is zero while the snapshot is being taken, and in the answer to an end. */
struct backup_response {
    uint64_t request_id;
    uint64_t index; /* the last entry that the snapshot holds */
    uint64_t term;  /* of that entry */
    uint64_t file_size;
    uint64_t offset; /* of `bytes` in the file; fewer than were asked for only at its end */
    struct slice bytes;
};

/* As those of native.h. */
void backup_request_encode(const struct backup_request *request, struct buf *out);
int backup_request_decode(struct slice payload, struct backup_request *ret_request);
void backup_response_encode(const struct backup_response *response, struct buf *out);
int backup_response_decode(struct slice payload, struct backup_response *ret_response);

#endif
