/*
 * The textbook's table: size(i, j) is that of the subsequence of the first i bytes of a and the
 * first j of b.
 *
 *     size(i, j) = 0                                       where i = 0 or j = 0
 *                  size(i - 1, j - 1) + 1                  where a[i - 1] = b[j - 1]: a match
 *                  max(size(i - 1, j), size(i, j - 1))     elsewhere
 *
 * The way back from its end goes diagonally over a match; elsewhere towards the larger neighbour,
 * and where they are equal, to (i, j - 1).
 *
 * Only one bit of a cell is kept: whether size(i, j) is size(i, j - 1), or one more ("a rise").
 * That is enough for the way back: without a match, a rise means that size(i - 1, j) is the larger
 * neighbour, and no rise that it is not. The size of the whole is the number of rises in the last
 * row. And a row of bits follows from the one before, 64 cells at a time (L. Allison and T. I.
 * Dix, 1986; in this form H. Hyyrö, 2004). With a set bit for no rise, and `equal` the cells of
 * the row that are matches:
 *
 *     flat' = (flat + (flat & equal)) | (flat & ~equal)
 *
 * In each run of cells up to a rise the sum moves that rise to the first match of the run, as the
 * carry goes through the cells without a rise. A number for each cell would be 512 MiB to fill.
 */
#include "kv/lcs.h"

#include "base/assert.h"
#include "base/limits.h"
#include "base/memory.h"
#include "kv/command.h"

#include <stdlib.h>

enum { BYTE_VALUES = 256, WORD_BITS = 64 };

/* For each byte value that is in a, the places in b that have it, as a row of bits. */
struct places {
    uint64_t *rows;
    uint16_t row_of[BYTE_VALUES]; /* counted from 1; 0: not in a */
};

struct table {
    struct slice a;
    struct slice b;
    size_t words;   /* of a row */
    uint64_t *flat; /* row i, of i + 1 bytes of a: no rise; or only the last row */
    bool has_all_rows;
};

static void places_init(struct places *places, const struct table *table)
{
    *places = (struct places){0};
    uint16_t count = 0;
    for (size_t i = 0; i < table->a.size; i++) {
        uint16_t *row = &places->row_of[table->a.data[i]];
        if (*row == 0) {
            count++;
            *row = count;
        }
    }
    places->rows = memory_new(count, table->words * sizeof(uint64_t));
    for (size_t j = 0; j < table->b.size; j++) {
        uint16_t row = places->row_of[table->b.data[j]];
        if (row > 0) {
            uint64_t *words = places->rows + (row - 1u) * table->words;
            words[j / WORD_BITS] |= (uint64_t)1 << (j % WORD_BITS);
        }
    }
}

/* One row from the one before, which may be in the same place. */
static void fill_row(const uint64_t *before, const uint64_t *equal, size_t words, uint64_t *row)
{
    uint64_t carry = 0;
    for (size_t i = 0; i < words; i++) {
        uint64_t flat = before[i];
        uint64_t matches = flat & equal[i];
        uint64_t sum = flat + carry;
        carry = sum < carry;
        sum += matches;
        carry |= sum < matches;
        row[i] = sum | (flat & ~equal[i]);
    }
}

static void table_init(struct table *table, struct slice a, struct slice b, bool has_all_rows)
{
    size_t words = (b.size + WORD_BITS - 1) / WORD_BITS;
    *table = (struct table){.a = a, .b = b, .words = words, .has_all_rows = has_all_rows};
    struct places places;
    places_init(&places, table);
    table->flat = memory_new(has_all_rows ? a.size : 1, words * sizeof(uint64_t));
    /* Above the first row everything is 0: nothing rises. */
    uint64_t *row = table->flat;
    memset(row, 0xff, words * sizeof(uint64_t));
    const uint64_t *before = row;
    for (size_t i = 0; i < a.size; i++) {
        fill_row(before, places.rows + (places.row_of[a.data[i]] - 1u) * words, words, row);
        before = row;
        row += has_all_rows ? words : 0;
    }
    free(places.rows);
}

/* Of the first i bytes of a and the first j of b. */
struct cell {
    size_t i;
    size_t j;
};

static bool is_match(const struct table *table, struct cell cell)
{
    return cell.i > 0 && cell.j > 0 && table->a.data[cell.i - 1] == table->b.data[cell.j - 1];
}

/* Of a cell that is not on the table's edge; all rows are there. */
static bool is_rise(const struct table *table, struct cell cell)
{
    size_t row = (cell.i - 1) * table->words;
    size_t bit = cell.j - 1;
    return (table->flat[row + bit / WORD_BITS] >> (bit % WORD_BITS) & 1) == 0;
}

/* The rises of the last row. Behind its end nothing ever rises. */
static uint32_t table_size(const struct table *table)
{
    size_t last = table->has_all_rows ? table->a.size - 1 : 0;
    const uint64_t *row = table->flat + last * table->words;
    uint32_t size = 0;
    for (size_t i = 0; i < table->words; i++) {
        size += (uint32_t)__builtin_popcountll(~row[i]);
    }
    return size;
}

/* The next run of matches on the way back from the cell, which moves before it; false: none. */
static bool next_match(const struct table *table, struct cell *cell, struct lcs_match *ret_match)
{
    while (cell->i > 0 && cell->j > 0 && !is_match(table, *cell)) {
        size_t *smaller = is_rise(table, *cell) ? &cell->i : &cell->j;
        (*smaller)--;
    }
    if (cell->i == 0 || cell->j == 0) {
        return false;
    }
    ret_match->last[0] = (uint32_t)cell->i - 1;
    ret_match->last[1] = (uint32_t)cell->j - 1;
    while (is_match(table, *cell)) {
        cell->i--;
        cell->j--;
    }
    ret_match->first[0] = (uint32_t)cell->i;
    ret_match->first[1] = (uint32_t)cell->j;
    return true;
}

/* Goes all the way back, from the last byte of the subsequence to the first. */
static void trace_back(const struct table *table, uint32_t size, uint32_t match_size_min,
                       struct buf *ret_bytes, struct buf *ret_matches)
{
    uint8_t *bytes = ret_bytes == NULL ? NULL : buf_extend(ret_bytes, size);
    struct cell cell = {.i = table->a.size, .j = table->b.size};
    struct lcs_match match;
    while (next_match(table, &cell, &match)) {
        uint32_t match_size = match.last[0] + 1 - match.first[0];
        CHECK(match_size <= size);
        size -= match_size;
        if (bytes != NULL) {
            memcpy(bytes + size, table->a.data + match.first[0], match_size);
        }
        if (ret_matches != NULL && match_size >= match_size_min) {
            lcs_match_encode(&match, ret_matches);
        }
    }
    CHECK(size == 0);
}

uint32_t lcs_find(struct slice a, struct slice b, uint32_t match_size_min, struct buf *ret_bytes,
                  struct buf *ret_matches)
{
    CHECK(a.size <= VALUE_SIZE_MAX);
    CHECK(b.size <= VALUE_SIZE_MAX);
    CHECK((a.size + 1) * (b.size + 1) <= LCS_CELLS_MAX);
    if (a.size == 0 || b.size == 0) {
        return 0;
    }
    struct table table;
    table_init(&table, a, b, ret_bytes != NULL || ret_matches != NULL);
    uint32_t size = table_size(&table);
    if (table.has_all_rows) {
        trace_back(&table, size, match_size_min, ret_bytes, ret_matches);
    }
    free(table.flat);
    return size;
}
