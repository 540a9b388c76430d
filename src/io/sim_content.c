/*
 * A file is an array of slots, one for each page, each with two pages of bytes; no page stands for
 * zeros, so that a segment filled with zeros costs no memory.
 *
 *     process ── write ──► cached page, dirty sectors ── sync ──► page at rest
 *                                                     ── power loss ──► each sector drawn for
 *
 * Invariants: a slot that is not listed has equal pages and no dirty sector; a dirty sector's slot
 * is listed; bytes beyond the size are zeros in both.
 */
#include "io/sim_content.h"

#include "base/assert.h"
#include "base/memory.h"

#include <stdlib.h>

enum { SECTORS = SIM_PAGE_SIZE / SIM_SECTOR_SIZE };

STATIC_CHECK(SECTORS == 8, "the sectors of a page fit the bits of a byte");

struct sim_slot {
    uint8_t *cached; /* NULL: zeros */
    uint8_t *rest;   /* NULL: zeros */
    uint8_t dirty;   /* a bit for each sector */
    bool listed;
    bool taken; /* counts as used space */
};

static const uint8_t zeros[SIM_PAGE_SIZE];

static uint8_t *page_new(const uint8_t *bytes)
{
    uint8_t *page = memory_grow(NULL, SIM_PAGE_SIZE);
    memcpy(page, bytes == NULL ? zeros : bytes, SIM_PAGE_SIZE);
    return page;
}

void sim_content_done(struct sim_content *content)
{
    for (size_t i = 0; i < content->slot_count; i++) {
        free(content->slots[i].cached);
        free(content->slots[i].rest);
    }
    free(content->slots);
    free(content->listed);
    *content = (struct sim_content){0};
}

static void slots_grow(struct sim_content *content, size_t count)
{
    if (count > content->slot_count) {
        size_t more = content->slot_count + content->slot_count / 2;
        size_t target = count > more ? count : more;
        content->slots = memory_grow(content->slots, target * sizeof *content->slots);
        memset(content->slots + content->slot_count, 0,
               (target - content->slot_count) * sizeof *content->slots);
        content->slot_count = target;
    }
}

static void slot_list(struct sim_content *content, size_t index)
{
    struct sim_slot *slot = &content->slots[index];
    if (slot->listed) {
        return;
    }
    slot->listed = true;
    if (content->listed_count == content->listed_capacity) {
        content->listed_capacity =
            content->listed_capacity == 0 ? 16 : content->listed_capacity * 2;
        content->listed =
            memory_grow(content->listed, content->listed_capacity * sizeof *content->listed);
    }
    content->listed[content->listed_count++] = (uint32_t)index;
}

/* The bits of the sectors that [from, to) of a page touches. */
static uint8_t sectors_of(size_t from, size_t to)
{
    unsigned first = (unsigned)(from / SIM_SECTOR_SIZE);
    unsigned end = (unsigned)((to + SIM_SECTOR_SIZE - 1) / SIM_SECTOR_SIZE);
    return (uint8_t)((1u << end) - (1u << first));
}

/* ---- reading and writing ---- */

size_t sim_content_read(const struct sim_content *content, uint64_t offset, void *bytes,
                        size_t size)
{
    if (offset >= content->size) {
        return 0;
    }
    if (size > content->size - offset) {
        size = (size_t)(content->size - offset);
    }
    for (size_t done = 0; done < size;) {
        size_t index = (size_t)((offset + done) / SIM_PAGE_SIZE);
        size_t from = (size_t)((offset + done) % SIM_PAGE_SIZE);
        size_t count = SIM_PAGE_SIZE - from < size - done ? SIM_PAGE_SIZE - from : size - done;
        const uint8_t *page = index < content->slot_count ? content->slots[index].cached : NULL;
        memcpy((uint8_t *)bytes + done, (page == NULL ? zeros : page) + from, count);
        done += count;
    }
    return size;
}

static void write_page(struct sim_content *content, size_t index, size_t from, const uint8_t *bytes,
                       size_t count)
{
    struct sim_slot *slot = &content->slots[index];
    if (slot->cached == NULL && memcmp(bytes, zeros, count) != 0) {
        slot->cached = page_new(NULL);
    }
    if (slot->cached != NULL) {
        memcpy(slot->cached + from, bytes, count);
    }
    slot->dirty |= sectors_of(from, from + count);
    slot_list(content, index);
}

size_t sim_content_write(struct sim_content *content, uint64_t offset, const void *bytes,
                         size_t size, uint64_t *free_pages)
{
    size_t done = 0;
    while (done < size) {
        size_t index = (size_t)((offset + done) / SIM_PAGE_SIZE);
        size_t from = (size_t)((offset + done) % SIM_PAGE_SIZE);
        size_t count = SIM_PAGE_SIZE - from < size - done ? SIM_PAGE_SIZE - from : size - done;
        slots_grow(content, index + 1);
        if (!content->slots[index].taken) {
            if (*free_pages == 0) {
                break;
            }
            (*free_pages)--;
            content->slots[index].taken = true;
        }
        write_page(content, index, from, (const uint8_t *)bytes + done, count);
        done += count;
    }
    if (done > 0 && offset + done > content->size) {
        content->size = offset + done;
    }
    return done;
}

uint64_t sim_content_pages(const struct sim_content *content)
{
    uint64_t count = 0;
    for (size_t i = 0; i < content->slot_count; i++) {
        count += content->slots[i].taken;
    }
    return count;
}

/* ---- coming to rest ---- */

static void sector_to_rest(struct sim_slot *to, const struct sim_slot *from, unsigned sector)
{
    size_t at = (size_t)sector * SIM_SECTOR_SIZE;
    const uint8_t *bytes = from->cached == NULL ? zeros : from->cached + at;
    if (to->rest == NULL && from->cached != NULL) {
        to->rest = page_new(NULL);
    }
    if (to->rest != NULL) {
        memcpy(to->rest + at, bytes, SIM_SECTOR_SIZE);
    }
}

static void sectors_to_rest(struct sim_slot *to, const struct sim_slot *from, uint8_t sectors)
{
    for (unsigned i = 0; i < SECTORS; i++) {
        if (sectors & (1u << i)) {
            sector_to_rest(to, from, i);
        }
    }
}

/* The dirty sectors of a slot that lie in [offset, end). */
static uint8_t dirty_within(const struct sim_content *content, size_t index, uint64_t offset,
                            uint64_t end)
{
    uint64_t start = (uint64_t)index * SIM_PAGE_SIZE;
    uint64_t from = offset > start ? offset - start : 0;
    uint64_t to = end - start < SIM_PAGE_SIZE ? end - start : SIM_PAGE_SIZE;
    if (end <= start || from >= to) {
        return 0;
    }
    return content->slots[index].dirty & sectors_of((size_t)from, (size_t)to);
}

/* The victim is left out, or lands on another page's place. */
static void sync_wrongly(struct sim_content *content, size_t victim, uint8_t sectors,
                         enum sim_sync_fault fault, struct prng *prng)
{
    struct sim_slot *slot = &content->slots[victim];
    slot->dirty &= (uint8_t)~sectors;
    if (fault == SIM_SYNC_MISDIRECTS) {
        size_t pages = (size_t)((content->size + SIM_PAGE_SIZE - 1) / SIM_PAGE_SIZE);
        size_t other = (size_t)prng_between(prng, 0, pages - 1);
        sectors_to_rest(&content->slots[other], slot, sectors);
        slot_list(content, other);
    }
}

static void sync_slot(struct sim_content *content, size_t index, uint64_t offset, uint64_t end)
{
    struct sim_slot *slot = &content->slots[index];
    uint8_t sectors = dirty_within(content, index, offset, end);
    sectors_to_rest(slot, slot, sectors);
    slot->dirty &= (uint8_t)~sectors;
}

/* Takes what is equal again off the list. */
static void list_tidy(struct sim_content *content)
{
    size_t kept = 0;
    for (size_t i = 0; i < content->listed_count; i++) {
        struct sim_slot *slot = &content->slots[content->listed[i]];
        const uint8_t *cached = slot->cached == NULL ? zeros : slot->cached;
        const uint8_t *rest = slot->rest == NULL ? zeros : slot->rest;
        if (slot->dirty != 0 || memcmp(cached, rest, SIM_PAGE_SIZE) != 0) {
            content->listed[kept++] = content->listed[i];
        } else {
            slot->listed = false;
        }
    }
    content->listed_count = kept;
}

bool sim_content_sync(struct sim_content *content, uint64_t offset, uint64_t size,
                      enum sim_sync_fault fault, struct prng *prng)
{
    CHECK(offset <= content->size);
    bool all = size == UINT64_MAX;
    uint64_t end = all || size > content->size - offset ? content->size : offset + size;
    size_t first = (size_t)(offset / SIM_PAGE_SIZE);
    size_t count = end > offset ? (size_t)((end - 1) / SIM_PAGE_SIZE) + 1 - first : 0;
    count = all ? content->listed_count : count;
    bool hit = false;
    if (fault != SIM_SYNC_GOOD && count > 0) {
        size_t draw = (size_t)prng_between(prng, 0, count - 1);
        size_t victim = all ? content->listed[draw] : first + draw;
        uint8_t sectors = dirty_within(content, victim, offset, end);
        hit = sectors != 0;
        if (hit) {
            sync_wrongly(content, victim, sectors, fault, prng);
        }
    }
    for (size_t i = 0; i < count; i++) {
        sync_slot(content, all ? content->listed[i] : first + i, offset, end);
    }
    if (all) {
        list_tidy(content);
    }
    if (end > content->size_at_rest) {
        content->size_at_rest = end;
    }
    return hit;
}

void sim_content_sync_failed(struct sim_content *content, struct prng *prng)
{
    for (size_t i = 0; i < content->listed_count; i++) {
        struct sim_slot *slot = &content->slots[content->listed[i]];
        uint8_t kept = (uint8_t)prng_next(prng) & slot->dirty;
        sectors_to_rest(slot, slot, kept);
        slot->dirty = 0;
    }
    if (content->size > content->size_at_rest && prng_chance(prng, 1, 2)) {
        content->size_at_rest = content->size;
    }
}

void sim_content_forget(struct sim_content *content)
{
    for (size_t i = 0; i < content->listed_count; i++) {
        struct sim_slot *slot = &content->slots[content->listed[i]];
        if (slot->cached == NULL && slot->rest != NULL) {
            slot->cached = page_new(NULL);
        }
        for (unsigned sector = 0; sector < SECTORS && slot->cached != NULL; sector++) {
            size_t at = (size_t)sector * SIM_SECTOR_SIZE;
            if ((slot->dirty & (1u << sector)) == 0) {
                memcpy(slot->cached + at, (slot->rest == NULL ? zeros : slot->rest) + at,
                       SIM_SECTOR_SIZE);
            }
        }
    }
    list_tidy(content);
}

/* ---- power loss ---- */

/* The bytes that changed are new up to a drawn place, then old or garbage. */
static void sector_torn(struct sim_slot *slot, unsigned sector, struct prng *prng)
{
    size_t at = (size_t)sector * SIM_SECTOR_SIZE;
    const uint8_t *cached = (slot->cached == NULL ? zeros : slot->cached) + at;
    if (slot->rest == NULL) {
        slot->rest = page_new(NULL);
    }
    uint8_t *rest = slot->rest + at;
    size_t cut = (size_t)prng_between(prng, 0, SIM_SECTOR_SIZE);
    bool garbage = prng_chance(prng, 1, 2);
    for (size_t i = 0; i < SIM_SECTOR_SIZE; i++) {
        if (i < cut) {
            rest[i] = cached[i];
        } else if (garbage && rest[i] != cached[i]) {
            rest[i] = (uint8_t)prng_next(prng);
        }
    }
}

static void sector_garbage(struct sim_slot *slot, unsigned sector, struct prng *prng)
{
    if (slot->rest == NULL) {
        slot->rest = page_new(NULL);
    }
    uint8_t *rest = slot->rest + (size_t)sector * SIM_SECTOR_SIZE;
    for (size_t i = 0; i < SIM_SECTOR_SIZE; i += 8) {
        put_u64(rest + i, prng_next(prng));
    }
}

static enum sim_fault sector_lose(struct sim_slot *slot, unsigned sector,
                                  const struct sim_disk_faults *faults, struct prng *prng)
{
    uint64_t draw = prng_between(prng, 0, SIM_PPM - 1);
    if (draw < faults->keep_ppm) {
        sector_to_rest(slot, slot, sector);
        return SIM_FAULT_SECTOR_KEPT;
    }
    draw -= faults->keep_ppm;
    if (draw < faults->torn_ppm) {
        sector_torn(slot, sector, prng);
        return SIM_FAULT_SECTOR_TORN;
    }
    draw -= faults->torn_ppm;
    if (draw < faults->garbage_ppm) {
        sector_garbage(slot, sector, prng);
        return SIM_FAULT_SECTOR_GARBAGE;
    }
    return SIM_FAULT_SECTOR_LOST;
}

static uint64_t size_after_loss(const struct sim_content *content, struct prng *prng)
{
    uint64_t old = content->size_at_rest;
    uint64_t size = content->size;
    if (size <= old || prng_chance(prng, 1, 3)) {
        return old;
    }
    if (prng_chance(prng, 1, 2)) {
        return size;
    }
    uint64_t between = prng_between(prng, old, size) / SIM_SECTOR_SIZE * SIM_SECTOR_SIZE;
    return between > old ? between : old;
}

/* Zeros at rest from the end of the file on, in its last page and all after it. */
static void zero_beyond(struct sim_content *content, uint64_t size)
{
    size_t first = (size_t)(size / SIM_PAGE_SIZE);
    size_t from = (size_t)(size % SIM_PAGE_SIZE);
    for (size_t i = 0; i < content->listed_count; i++) {
        size_t index = content->listed[i];
        struct sim_slot *slot = &content->slots[index];
        if (index < first || slot->rest == NULL) {
            continue;
        }
        size_t start = index == first ? from : 0;
        memset(slot->rest + start, 0, SIM_PAGE_SIZE - start);
    }
    for (size_t i = first + (from != 0); i < content->slot_count; i++) {
        content->slots[i].taken = false;
    }
}

void sim_content_power_loss(struct sim_content *content, const struct sim_disk_faults *faults,
                            struct prng *prng, struct sim_counters *counters, uint64_t *damage)
{
    for (size_t i = 0; i < content->listed_count; i++) {
        struct sim_slot *slot = &content->slots[content->listed[i]];
        for (unsigned sector = 0; sector < SECTORS; sector++) {
            if (slot->dirty & (1u << sector)) {
                enum sim_fault fault = sector_lose(slot, sector, faults, prng);
                counters->faults[fault]++;
                *damage += fault == SIM_FAULT_SECTOR_GARBAGE;
            }
        }
    }
    uint64_t size = size_after_loss(content, prng);
    if (size < content->size) {
        zero_beyond(content, size);
    }
    for (size_t i = 0; i < content->listed_count; i++) {
        struct sim_slot *slot = &content->slots[content->listed[i]];
        free(slot->cached);
        slot->cached = slot->rest == NULL ? NULL : page_new(slot->rest);
        slot->dirty = 0;
        slot->listed = false;
    }
    content->listed_count = 0;
    content->size = size;
    content->size_at_rest = size;
}

/* ---- copies and damage ---- */

void sim_content_copy_at_rest(const struct sim_content *content, struct sim_content *ret_copy)
{
    CHECK(ret_copy->slot_count == 0);
    slots_grow(ret_copy, content->slot_count);
    for (size_t i = 0; i < content->slot_count; i++) {
        const struct sim_slot *slot = &content->slots[i];
        if (slot->rest != NULL) {
            ret_copy->slots[i].cached = page_new(slot->rest);
            ret_copy->slots[i].rest = page_new(slot->rest);
        }
        uint64_t start = (uint64_t)i * SIM_PAGE_SIZE;
        ret_copy->slots[i].taken = slot->taken && start < content->size_at_rest;
    }
    ret_copy->size = content->size_at_rest;
    ret_copy->size_at_rest = content->size_at_rest;
}

void sim_content_flip(struct sim_content *content, uint64_t offset, unsigned bit)
{
    CHECK(offset < content->size_at_rest);
    size_t index = (size_t)(offset / SIM_PAGE_SIZE);
    size_t at = (size_t)(offset % SIM_PAGE_SIZE);
    slots_grow(content, index + 1);
    struct sim_slot *slot = &content->slots[index];
    if (slot->rest == NULL) {
        slot->rest = page_new(NULL);
    }
    slot->rest[at] ^= (uint8_t)(1u << bit);
    if ((slot->dirty & sectors_of(at, at + 1)) != 0) {
        return;
    }
    if (slot->cached == NULL) {
        slot->cached = page_new(NULL);
    }
    slot->cached[at] = slot->rest[at];
}

/* Whether a sector at rest is not all zeros; sectors are numbered through the file. */
static bool solid(const struct sim_content *content, size_t sector)
{
    const uint8_t *rest = content->slots[sector / SECTORS].rest;
    bool inside = (uint64_t)sector * SIM_SECTOR_SIZE < content->size_at_rest;
    size_t at = sector % SECTORS * SIM_SECTOR_SIZE;
    return inside && rest != NULL && memcmp(rest + at, zeros, SIM_SECTOR_SIZE) != 0;
}

size_t sim_content_solid_count(const struct sim_content *content)
{
    size_t count = 0;
    for (size_t i = 0; i < content->slot_count * SECTORS; i++) {
        count += solid(content, i);
    }
    return count;
}

uint64_t sim_content_solid_offset(const struct sim_content *content, size_t nth)
{
    size_t sector = 0;
    for (size_t left = nth; !solid(content, sector) || left > 0; sector++) {
        left -= solid(content, sector);
        CHECK(sector + 1 < content->slot_count * SECTORS);
    }
    return (uint64_t)sector * SIM_SECTOR_SIZE;
}
