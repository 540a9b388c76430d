/*
 * The content of one simulated file: what a process reads and writes (the page cache), what is on
 * the platter (at rest), and which sectors of the first the second has not got yet.
 */
#ifndef IO_SIM_CONTENT_H
#define IO_SIM_CONTENT_H

#include "base/prng.h"
#include "io/sim.h"

enum { SIM_PAGE_SIZE = 4096 };

struct sim_slot; /* one page of the file */

struct sim_content {
    struct sim_slot *slots;
    size_t slot_count;
    uint64_t size;         /* as the process sees it */
    uint64_t size_at_rest; /* after a power loss, at least */
    uint32_t *listed;      /* slots whose two pages may differ */
    size_t listed_count;
    size_t listed_capacity;
};

void sim_content_done(struct sim_content *content);

/* Bytes read; fewer than `size` only at the end. */
size_t sim_content_read(const struct sim_content *content, uint64_t offset, void *bytes,
                        size_t size);

/*
 * Writes to the page cache, unsynced. Pages that the file has not got yet are taken out of
 * *free_pages; when that is used up the write ends early. Returns the bytes written.
 */
size_t sim_content_write(struct sim_content *content, uint64_t offset, const void *bytes,
                         size_t size, uint64_t *free_pages);

/* The number of pages that the file has taken. */
uint64_t sim_content_pages(const struct sim_content *content);

/* Where a sync goes wrong without saying so. */
enum sim_sync_fault { SIM_SYNC_GOOD, SIM_SYNC_LOSES, SIM_SYNC_MISDIRECTS };

/*
 * Brings the unsynced sectors of [offset, offset + size) and the file's size to rest; all of it
 * with UINT64_MAX. With a fault, one page of them is left out, or lands elsewhere; returns whether
 * there was a page for that.
 */
bool sim_content_sync(struct sim_content *content, uint64_t offset, uint64_t size,
                      enum sim_sync_fault fault, struct prng *prng);

/* A sync that failed: each unsynced sector is drawn for, and all of them count as synced. */
void sim_content_sync_failed(struct sim_content *content, struct prng *prng);

/* What counts as synced is read from the platter from now on. */
void sim_content_forget(struct sim_content *content);

/* Power loss: each unsynced sector is drawn for; the page cache is then what is at rest. */
void sim_content_power_loss(struct sim_content *content, const struct sim_disk_faults *faults,
                            struct prng *prng, struct sim_counters *counters, uint64_t *damage);

/* *ret_copy, which is empty, becomes what is at rest, in both respects. */
void sim_content_copy_at_rest(const struct sim_content *content, struct sim_content *ret_copy);

/* Flips one bit at rest, and in the page cache when that sector has nothing unsynced. */
void sim_content_flip(struct sim_content *content, uint64_t offset, unsigned bit);

/* The number of sectors at rest that are not all zeros, and the offset of the nth. */
size_t sim_content_solid_count(const struct sim_content *content);
uint64_t sim_content_solid_offset(const struct sim_content *content, size_t nth);

#endif
