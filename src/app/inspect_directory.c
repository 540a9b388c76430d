/*
 * What stands in a data directory besides the log, and the reading of files in pieces.
 *
 * Every file is opened read-only. Whether a server runs is asked of the lock itself, by taking it
 * shared and giving it back at once: a server that starts in between those two calls is refused,
 * so it is not held for longer.
 */
#include "app/inspect.h"

#include "base/memory.h"
#include "cli/words.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *const verdict_names[] = {"refused",   "torn",   "repaired",
                                            "set-aside", "unused", "outdated"};
static const char *const verdict_clauses[] = {
    "refuses to start",
    "cuts it as a torn tail and goes on",
    "goes by the other copy and writes this one again",
    "sets it aside and goes by the log and the snapshot before it",
    "does not look there",
    "refuses to start; `kvapp recover` takes it when nothing else is left",
};

const char *verdict_name(enum verdict verdict)
{
    return verdict_names[verdict];
}

const char *verdict_clause(enum verdict verdict)
{
    return verdict_clauses[verdict];
}

size_t first_nonzero(struct slice bytes)
{
    size_t at = 0;
    /* Nearly always all are. */
    if (bytes.size > 0 && bytes.data[0] == 0 &&
        memcmp(bytes.data, bytes.data + 1, bytes.size - 1) == 0) {
        return bytes.size;
    }
    while (at < bytes.size && bytes.data[at] == 0) {
        at++;
    }
    return at;
}

/* ---- what was found ---- */

void inspection_find(struct inspection *inspection, enum verdict verdict, const char *file,
                     uint64_t offset, const char *format, ...)
{
    if (inspection->finding_count++ >= FINDINGS_MAX) {
        return;
    }
    struct finding *finding = &inspection->findings[inspection->finding_count - 1];
    *finding = (struct finding){
        .verdict = verdict,
        .has_offset = offset != UINT64_MAX,
        .offset = offset,
    };
    (void)snprintf(finding->file, sizeof finding->file, "%s", file);
    va_list arguments;
    va_start(arguments, format);
    /* NOLINTNEXTLINE(clang-analyzer-valist.Uninitialized) */
    (void)vsnprintf(finding->what, sizeof finding->what, format, arguments);
    va_end(arguments);
}

void inspection_note(struct inspection *inspection, const char *format, ...)
{
    char note[2 * FINDING_SIZE];
    va_list arguments;
    va_start(arguments, format);
    /* NOLINTNEXTLINE(clang-analyzer-valist.Uninitialized) */
    (void)vsnprintf(note, sizeof note, format, arguments);
    va_end(arguments);
    buf_append(&inspection->notes, note, strlen(note) + 1);
}

/* ---- files, in pieces ---- */

int pieces_open(struct pieces *pieces, const struct inspection *inspection, const char *name)
{
    pieces->file = -1;
    pieces->held = 0;
    pieces->error = 0;
    /* Without O_NONBLOCK a named pipe would be waited for. */
    int file = openat(inspection->folder, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat about;
    if (file < 0 || fstat(file, &about) != 0) {
        int error = errno;
        if (file >= 0) {
            (void)close(file);
        }
        return error;
    }
    if (!S_ISREG(about.st_mode)) {
        (void)close(file);
        return EINVAL;
    }
    if (pieces->bytes == NULL) {
        pieces->bytes = memory_new(1, BATCH_SIZE_MAX);
    }
    pieces->file = file;
    pieces->size = (uint64_t)about.st_size;
    return 0;
}

void pieces_close(struct pieces *pieces)
{
    if (pieces->file >= 0) {
        (void)close(pieces->file);
        pieces->file = -1;
    }
}

void pieces_done(struct pieces *pieces)
{
    pieces_close(pieces);
    free(pieces->bytes);
    pieces->bytes = NULL;
}

const uint8_t *pieces_at(struct pieces *pieces, uint64_t offset, size_t size)
{
    CHECK(size <= BATCH_SIZE_MAX);
    if (offset >= pieces->offset && offset + size <= pieces->offset + pieces->held) {
        return pieces->bytes + (offset - pieces->offset);
    }
    size_t wanted = size < PIECE_SIZE ? PIECE_SIZE : size;
    pieces->offset = offset;
    pieces->held = 0;
    pieces->error = 0;
    while (pieces->held < wanted) {
        ssize_t got = pread(pieces->file, pieces->bytes + pieces->held, wanted - pieces->held,
                            (off_t)(offset + pieces->held));
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0) {
            pieces->error = got < 0 ? errno : 0;
            break;
        }
        pieces->held += (size_t)got;
    }
    return pieces->held >= size ? pieces->bytes : NULL;
}

/* ---- names ---- */

static bool has_name(const struct inspection *inspection, const char *name)
{
    const struct buf *names = &inspection->names;
    for (size_t at = 0; at < names->size; at += strlen((const char *)names->data + at) + 1) {
        if (strcmp((const char *)names->data + at, name) == 0) {
            return true;
        }
    }
    return false;
}

static int list_names(struct inspection *inspection)
{
    struct dirent **entries = NULL;
    int count = scandirat(inspection->folder, ".", &entries, NULL, alphasort);
    for (int i = 0; i < count; i++) {
        const char *name = entries[i]->d_name;
        if (strcmp(name, ".") != 0 && strcmp(name, "..") != 0) {
            buf_append(&inspection->names, name, strlen(name) + 1);
        }
        free(entries[i]);
    }
    free(entries);
    return count < 0 ? errno : 0;
}

static void add_segment(struct inspection *inspection, uint64_t number, const char *name)
{
    size_t count = inspection->segment_count++;
    inspection->segments =
        memory_grow(inspection->segments, (count + 1) * sizeof inspection->segments[0]);
    inspection->segments[count] = (struct log_segment){.number = number};
    struct stat about;
    if (fstatat(inspection->folder, name, &about, 0) == 0) {
        inspection->bytes_total += (uint64_t)about.st_size;
    }
}

static void add_snapshot(struct inspection *inspection, uint64_t index, const char *name)
{
    size_t count = inspection->snapshot_count++;
    inspection->snapshots =
        memory_grow(inspection->snapshots, (count + 1) * sizeof inspection->snapshots[0]);
    inspection->snapshots[count] = (struct snapshot_file){.index = index};
    struct stat about;
    if (fstatat(inspection->folder, name, &about, 0) == 0) {
        inspection->snapshots[count].size = (uint64_t)about.st_size;
        inspection->bytes_total += (uint64_t)about.st_size;
    }
}

/* What settle.c and aside.c of src/storage have put out of the way: a snapshot, or all there was.
 */
static bool is_set_aside(const char *name)
{
    static const char suffix[] = ".damaged";
    static const char prefix[] = "damaged-";
    char whole[SNAPSHOT_NAME_SIZE];
    size_t size = strlen(name);
    if (strncmp(name, prefix, strlen(prefix)) == 0) {
        return true;
    }
    if (size < sizeof suffix || size - (sizeof suffix - 1) >= sizeof whole ||
        strcmp(name + size - (sizeof suffix - 1), suffix) != 0) {
        return false;
    }
    (void)snprintf(whole, sizeof whole, "%.*s", (int)(size - (sizeof suffix - 1)), name);
    return snapshot_name_index(whole) != 0;
}

/* A folder of kvapp restore or kvapp recover. */
static bool is_renewals(const char *name)
{
    static const char *const folders[] = {"before-recovery", "recovery.making", "recovery.whole",
                                          "recovery.moving", "restore.making",  "restore.whole",
                                          "restore.moving"};
    for (size_t i = 0; i < sizeof folders / sizeof folders[0]; i++) {
        if (strcmp(name, folders[i]) == 0) {
            return true;
        }
    }
    return false;
}

/* What the names tell: segments that belong to the log, and files that nobody needs. */
static void sort_names(struct inspection *inspection)
{
    static const char *const made[] = {"IDENTITY.tmp", "VOTE.tmp", "spare.tmp",
                                       SNAPSHOT_TAKING_NAME};
    const struct buf *names = &inspection->names;
    bool vote_counts = inspection->vote_slot >= 0;
    for (size_t at = 0; at < names->size; at += strlen((const char *)names->data + at) + 1) {
        const char *name = (const char *)names->data + at;
        uint64_t number = segment_number(name);
        bool unfinished = false;
        for (size_t i = 0; i < sizeof made / sizeof made[0]; i++) {
            unfinished = unfinished || strcmp(name, made[i]) == 0;
        }
        if (number != 0 && (!vote_counts || number >= inspection->vote.first_segment)) {
            add_segment(inspection, number, name);
        } else if (snapshot_name_index(name) != 0) {
            add_snapshot(inspection, snapshot_name_index(name), name);
        } else if (strcmp(name, SNAPSHOT_RECEIVING_NAME) == 0) {
            inspection_note(inspection, "%s: a part of a snapshot that a leader sends", name);
        } else if (is_set_aside(name)) {
            inspection_note(inspection, "%s: was set aside by an earlier start", name);
        } else if (number != 0) {
            inspection_note(inspection,
                            "%s: lies below the log's first segment; the next start removes it",
                            name);
        } else if (unfinished && !inspection->server_running) {
            inspection_note(inspection, "%s: was in the making; the next start removes it", name);
        } else if (is_renewals(name)) {
            inspection_note(inspection, "%s: %s", name,
                            strncmp(name, "before-", strlen("before-")) == 0
                                ? "holds what was there before a recovery"
                                : "was left by a restore or a recovery that was interrupted; call "
                                  "it again");
        } else if (!unfinished && strcmp(name, "LOCK") != 0 && strcmp(name, "IDENTITY") != 0 &&
                   strcmp(name, "VOTE") != 0) {
            struct buf shown = {0};
            text_escape(slice_of_string(name), &shown);
            inspection_note(inspection, "%.*s: is no file of kvapp's; a server leaves it alone",
                            (int)shown.size, (const char *)shown.data);
            buf_done(&shown);
        }
    }
}

/* ---- LOCK ---- */

static void look_at_lock(struct inspection *inspection)
{
    int file = openat(inspection->folder, "LOCK", O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (file < 0) {
        if (errno != ENOENT) {
            inspection_note(inspection,
                            "LOCK: cannot be opened: %s; whether a server runs is not known",
                            strerror(errno));
        }
        return;
    }
    inspection->server_running = flock(file, LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK;
    (void)close(file);
}

/* ---- IDENTITY ---- */

static void read_identity(struct inspection *inspection)
{
    struct pieces pieces = {.file = -1};
    int error = pieces_open(&pieces, inspection, "IDENTITY");
    const uint8_t *bytes = NULL;
    if (error == 0) {
        inspection->bytes_total += pieces.size;
        inspection->bytes_read += pieces.size;
        bytes = pieces_at(&pieces, 0, IDENTITY_HEADER_SIZE);
    }
    struct slice founders = {0};
    inspection->identity_err = identity_decode(slice_of(bytes, bytes == NULL ? 0 : pieces.held),
                                               &inspection->identity, &founders);
    buf_append_slice(&inspection->founders, founders);
    if (error != 0) {
        inspection_find(inspection, VERDICT_REFUSED, "IDENTITY", UINT64_MAX, "cannot be opened: %s",
                        strerror(error));
    } else if (inspection->identity_err == KV_ERR_VERSION) {
        inspection_find(inspection, VERDICT_REFUSED, "IDENTITY", 0,
                        "is in a format that this version does not know");
    } else if (inspection->identity_err != 0) {
        inspection_find(inspection, VERDICT_REFUSED, "IDENTITY", 0,
                        "does not match its checksum, so it is not known to which server the "
                        "directory belongs");
    }
    pieces_done(&pieces);
}

/* ---- VOTE ---- */

static const struct identity *owner(const struct inspection *inspection)
{
    return inspection->has_identity && inspection->identity_err == 0 ? &inspection->identity : NULL;
}

/* The slots of a whole file, and which one counts; nothing changes for the worse. */
static void decode_votes(struct inspection *inspection, struct slice file)
{
    unsigned slot;
    bool echoed;
    if (vote_choose(file, owner(inspection), &inspection->vote, &slot, &echoed) == 0) {
        inspection->vote_slot = (int)slot;
    }
    for (unsigned i = 0; i < 2 && file.size >= VOTE_FILE_SIZE; i++) {
        inspection->slot_errs[i] = vote_decode(file.data + (size_t)i * VOTE_SLOT_SPACING,
                                               owner(inspection), &inspection->slots[i]);
    }
}

/* The findings of one slot and of the space behind it. */
static void judge_slot(struct inspection *inspection, unsigned slot, const uint8_t *at)
{
    uint64_t offset = (uint64_t)slot * VOTE_SLOT_SPACING;
    int err = inspection->slot_errs[slot];
    const char *what = err == KV_ERR_VERSION    ? "is in a format that this version does not know"
                       : err == KV_ERR_MISMATCH ? "belongs to another server"
                                                : "does not match its checksum";
    bool refused = inspection->vote_slot < 0;
    if (err != 0) {
        inspection_find(inspection, refused ? VERDICT_REFUSED : VERDICT_REPAIRED, "VOTE", offset,
                        "copy %u of term and vote %s", slot, what);
    }
    size_t rest = VOTE_SLOT_SPACING - VOTE_RECORD_SIZE;
    size_t wrong = first_nonzero(slice_of(at + VOTE_RECORD_SIZE, rest));
    if (wrong < rest) {
        inspection_find(inspection, VERDICT_UNUSED, "VOTE", offset + VOTE_RECORD_SIZE + wrong,
                        "a byte that should be zero is not");
    }
}

static void read_votes(struct inspection *inspection)
{
    struct pieces pieces = {.file = -1};
    int error = pieces_open(&pieces, inspection, "VOTE");
    if (error != 0) {
        inspection_find(inspection, VERDICT_REFUSED, "VOTE", UINT64_MAX, "cannot be opened: %s",
                        strerror(error));
        return;
    }
    inspection->bytes_total += pieces.size;
    inspection->bytes_read += pieces.size;
    const uint8_t *bytes = pieces_at(&pieces, 0, VOTE_FILE_SIZE);
    if (bytes == NULL || pieces.size != VOTE_FILE_SIZE) {
        inspection_find(inspection, VERDICT_REFUSED, "VOTE", UINT64_MAX,
                        "has %" PRIu64 " bytes and should have %d", pieces.size, VOTE_FILE_SIZE);
        pieces_done(&pieces);
        return;
    }
    decode_votes(inspection, slice_of(bytes, VOTE_FILE_SIZE));
    for (unsigned slot = 0; slot < 2; slot++) {
        judge_slot(inspection, slot, bytes + (size_t)slot * VOTE_SLOT_SPACING);
    }
    pieces_done(&pieces);
}

void inspection_reread_vote(struct inspection *inspection)
{
    struct pieces pieces = {.file = -1};
    if (pieces_open(&pieces, inspection, "VOTE") == 0) {
        const uint8_t *bytes = pieces_at(&pieces, 0, VOTE_FILE_SIZE);
        if (bytes != NULL) {
            decode_votes(inspection, slice_of(bytes, VOTE_FILE_SIZE));
        }
    }
    pieces_done(&pieces);
}

/* ---- the whole ---- */

/* A snapshot without a log counts too: the directory has been used. */
static bool has_log(const struct inspection *inspection, bool with_snapshots)
{
    const struct buf *names = &inspection->names;
    for (size_t at = 0; at < names->size; at += strlen((const char *)names->data + at) + 1) {
        const char *name = (const char *)names->data + at;
        if (segment_number(name) != 0 || (with_snapshots && snapshot_name_index(name) != 0)) {
            return true;
        }
    }
    return false;
}

/* As check_files and vote_read of src/storage/opening.c. */
static void look_for_missing(struct inspection *inspection)
{
    bool log = has_log(inspection, false);
    bool state = has_log(inspection, true);
    const struct vote *vote = &inspection->vote;
    bool used = state || vote->synced_sequence != 0 || (vote->term != 0 && vote->lost_until == 0);
    if (!inspection->has_identity) {
        inspection_find(inspection, VERDICT_REFUSED, "IDENTITY", UINT64_MAX,
                        "is missing, though the directory holds %s", state ? "a log" : "votes");
    }
    if (!inspection->has_vote && state) {
        inspection_find(inspection, VERDICT_REFUSED, "VOTE", UINT64_MAX,
                        "is missing, though the directory holds a log");
    } else if (!log && used) {
        inspection_find(inspection, VERDICT_REFUSED, "log-*", UINT64_MAX,
                        "the log is missing: VOTE knows of batch %" PRIu64,
                        inspection->vote.synced_sequence);
    } else if (!log && vote->lost_until == 0) {
        inspection_note(inspection, "the first start did not finish; the next one goes on with it");
    }
}

/* As aside.c of src/storage. */
static void look_for_loss(struct inspection *inspection)
{
    const struct vote *vote = &inspection->vote;
    if (vote->aside != 0) {
        inspection_note(inspection,
                        "damaged-%04" PRIu64 ": log and snapshots are being moved there, because "
                        "something of them was damaged; the next start goes on with it",
                        vote->aside);
    }
    if (vote->outdated) {
        inspection_find(inspection, VERDICT_OUTDATED, "VOTE", UINT64_MAX,
                        "the directory is an older copy of what it was, as its leader once found");
    }
    if (vote->lost_until != 0) {
        inspection_note(inspection,
                        "the log was lost in term %" PRIu64
                        "; the other servers repair it, and this one does not vote until then",
                        vote->lost_term);
    }
}

int inspection_open(struct inspection *inspection, const char *path, char *error, size_t error_size)
{
    *inspection = (struct inspection){
        .path = path,
        .vote_slot = -1,
        .slot_errs = {KV_ERR_DAMAGED, KV_ERR_DAMAGED},
    };
    inspection->folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int failed = inspection->folder < 0 ? errno : list_names(inspection);
    if (failed != 0) {
        (void)snprintf(error, error_size,
                       "%s: the directory cannot be read: %s; name the --data-dir of a server",
                       path, strerror(failed));
        inspection_done(inspection);
        return KV_ERR_INVALID;
    }
    inspection->has_identity = has_name(inspection, "IDENTITY");
    inspection->has_vote = has_name(inspection, "VOTE");
    if (!inspection->has_identity && !inspection->has_vote && !has_log(inspection, true)) {
        (void)snprintf(
            error, error_size,
            "%s: is no data directory of kvapp: it holds neither IDENTITY nor VOTE nor a "
            "file log-*; name the --data-dir of a server",
            path);
        inspection_done(inspection);
        return KV_ERR_INVALID;
    }
    inspection->findings = memory_new(FINDINGS_MAX, sizeof inspection->findings[0]);
    look_at_lock(inspection);
    if (inspection->has_identity) {
        read_identity(inspection);
    }
    if (inspection->has_vote) {
        read_votes(inspection);
    }
    look_for_missing(inspection);
    look_for_loss(inspection);
    sort_names(inspection);
    return 0;
}

void inspection_done(struct inspection *inspection)
{
    if (inspection->folder >= 0) {
        (void)close(inspection->folder);
    }
    buf_done(&inspection->names);
    buf_done(&inspection->founders);
    buf_done(&inspection->notes);
    free(inspection->segments);
    for (size_t i = 0; i < inspection->snapshot_count; i++) {
        buf_done(&inspection->snapshots[i].membership);
    }
    free(inspection->snapshots);
    free(inspection->replacements);
    free(inspection->findings);
}
