/*
 * A data directory, looked at from outside: kvapp inspect and kvapp verify. Both read what a server
 * would read, by the decoders of src/storage, go on where a server would stop, and write nothing.
 *
 *     inspect_directory.c   names, LOCK, IDENTITY, VOTE ──┐
 *     inspect_snapshots.c   snapshots, chunk by chunk ◄───┤
 *     inspect_walk.c        the log, batch by batch ◄─────┘──► struct inspection
 *     inspect.c             the inspection as text, or inspect_json.c
 *     inspect_entries.c     a second walk, for entries to be shown
 *     verify.c              the findings alone
 *
 * A finding is a place where something is not as it was written. Its verdict is what a server that
 * starts on the directory does about it, so the walk follows src/storage/recover.c step by step.
 *
 * Memory: a piece of a file (PIECE_SIZE, or one batch where that is larger), and a row for each
 * segment, finding and unknown file.
 */
#ifndef APP_INSPECT_H
#define APP_INSPECT_H

#include "cli/options.h"
#include "storage/batch.h"
#include "storage/entry.h"
#include "storage/segment.h"
#include "storage/snapshot_format.h"
#include "storage/vote.h"

struct terms;

enum {
    PIECE_SIZE = 1024 * 1024,
    FINDINGS_MAX = 1000, /* that are remembered; more are only counted */
    FINDING_SIZE = 320,
};

/* Each returns the exit status of the program. */
int inspect_main(const struct options *options);
int verify_main(const struct options *options);

enum inspect_status {
    INSPECT_RIGHT = 0,
    INSPECT_FINDINGS = 1,
    INSPECT_USAGE = 2, /* or the directory is not one of kvapp's */
};

/* What a server that starts does about a finding. */
enum verdict {
    VERDICT_REFUSED,  /* it does not start */
    VERDICT_TORN,     /* it cuts the log there: nobody was told that what follows is stored */
    VERDICT_REPAIRED, /* it goes by the other copy, and writes this one again */
    VERDICT_ASIDE,    /* it renames the file, and goes by what is left */
    VERDICT_UNUSED,   /* it does not look there */
    VERDICT_OUTDATED, /* it does not start; recover does go on with it */
};

/* "refused", "torn", ...; and as a clause whose subject is the server. */
const char *verdict_name(enum verdict verdict);
const char *verdict_clause(enum verdict verdict);

struct finding {
    enum verdict verdict;
    bool has_offset;
    char file[SNAPSHOT_NAME_SIZE];
    uint64_t offset;
    char what[FINDING_SIZE];
};

/* A segment's file, as far as it could be read. */
struct log_segment {
    uint64_t number;
    bool readable; /* the header is right: `header` holds it */
    struct segment header;
    uint64_t file_size;
    uint64_t batches;     /* whose checksums are right */
    uint64_t entries;     /* in them */
    uint64_t first_index; /* of their entries; 0: none */
    uint64_t last_index;  /* the highest */
    uint64_t end;         /* of the last right batch; what follows is free */
    uint64_t remains;     /* of an unused space that should be zeros, the first byte that is not;
                             0: none */
};

/* A snapshot's file, as far as it could be read. */
struct snapshot_file {
    uint64_t index; /* by its name */
    int err;        /* 0: every byte is right; else `what` is wrong at `offset` */
    uint64_t offset;
    char what[FINDING_SIZE];
    bool readable; /* the header is right: `header` holds it */
    struct snapshot_header header;
    uint64_t size;
    uint64_t chunks;   /* the membership among them */
    uint64_t raw_size; /* of the state and the membership, not compressed */
    struct buf membership;
};

/* A batch that replaced entries: all from `first_index` on that are in earlier batches. */
struct replacement {
    uint64_t sequence;
    uint64_t first_index;
};

struct inspection {
    const char *path; /* borrowed */
    int folder;
    struct buf names; /* of the directory, sorted, a zero byte behind each */
    bool server_running;
    bool has_identity;
    int identity_err;
    struct identity identity; /* when it is there and right */
    struct buf founders;      /* in it, encoded */
    bool has_vote;
    int slot_errs[2]; /* KV_ERR_DAMAGED for what is missing */
    struct vote slots[2];
    int vote_slot;    /* that counts; -1: none does */
    struct vote vote; /* the one that counts */

    struct log_segment *segments;
    size_t segment_count;
    struct snapshot_file *snapshots; /* by index */
    size_t snapshot_count;
    size_t snapshot_chosen; /* the newest whole one is snapshots[snapshot_chosen - 1]; 0: none */
    uint64_t batches;
    uint64_t entries;     /* in batches, replaced ones included */
    uint64_t first_index; /* of the log; 0: no batch was read */
    uint64_t last_index;
    uint64_t last_term;
    struct replacement *replacements; /* rising in both fields */
    size_t replacement_count;

    struct finding *findings;
    size_t finding_count; /* the first FINDINGS_MAX of them are in `findings` */
    struct buf notes;     /* a zero byte behind each */
    uint64_t bytes_total;
    uint64_t bytes_read;
    /* Called after each piece; NULL: nobody wants to know. */
    void (*progress)(const struct inspection *inspection);
};

/*
 * Opens the directory and reads everything but the log. Returns 0, or KV_ERR_INVALID with a
 * sentence in `error` when it cannot be read or is no data directory; nothing is to be released
 * then. `progress` is set by the caller between this and inspection_read.
 */
int inspection_open(struct inspection *inspection, const char *path, char *error,
                    size_t error_size);
/* Walks through the log. */
void inspection_read(struct inspection *inspection);
void inspection_done(struct inspection *inspection);

/* Reads every snapshot to its end, or to the first thing wrong in it. */
void inspection_read_snapshots(struct inspection *inspection);
/* Adds what is wrong with snapshots, and whether the log, whose terms these are, fits to them. */
void inspection_judge_snapshots(struct inspection *inspection, const struct terms *terms);

/* Reads VOTE again, without a finding; for a directory whose server is running. */
void inspection_reread_vote(struct inspection *inspection);

/* Adds a finding; offset UINT64_MAX: of the file as a whole. */
__attribute__((format(printf, 5, 6))) void inspection_find(struct inspection *inspection,
                                                           enum verdict verdict, const char *file,
                                                           uint64_t offset, const char *format,
                                                           ...);
__attribute__((format(printf, 2, 3))) void inspection_note(struct inspection *inspection,
                                                           const char *format, ...);

/* The first byte of `bytes` that is not zero; bytes.size: all are. */
size_t first_nonzero(struct slice bytes);

/* ---- files, in pieces ---- */

struct pieces {
    int file; /* -1: none */
    uint64_t size;
    uint64_t offset; /* of the bytes held */
    size_t held;
    uint8_t *bytes;
    int error; /* errno of the read that failed; 0 when the file ended */
};

/* Opens a file of the directory, read-only. Returns 0, or errno with the pieces as if closed. */
int pieces_open(struct pieces *pieces, const struct inspection *inspection, const char *name);
void pieces_close(struct pieces *pieces);
/* Closes, and frees the memory. */
void pieces_done(struct pieces *pieces);
/* Bytes of the file, at most BATCH_SIZE_MAX, valid until the next call; NULL: see `error`. */
const uint8_t *pieces_at(struct pieces *pieces, uint64_t offset, size_t size);

/* ---- entries ---- */

/* Called for each entry; its payload is borrowed for the length of the call. */
typedef void (*entry_fn)(void *context, const struct entry *entry);

/*
 * Walks through the segments again and calls for the entries from `from` to `to`, at most `limit`,
 * that no later batch has replaced.
 */
void inspection_entries(const struct inspection *inspection, uint64_t from, uint64_t to,
                        uint64_t limit, entry_fn each, void *context);

/* Appends an entry's payload as one line for people: "put planet mars". */
void entry_describe(const struct entry *entry, struct buf *out);

/* ---- memberships ---- */

/* Appends one for people: "1=10.0.0.1:8080, 2=10.0.0.2:8080 (learner)"; a joint one as "of two sets
 * 1=...". */
void membership_describe(struct slice encoded, struct buf *out);

/* The whole as one JSON document; entries as of inspection_entries. */
void inspection_print_json(const struct inspection *inspection, uint64_t from, uint64_t to,
                           uint64_t limit);

#endif
