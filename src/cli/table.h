/* A table of text: titles, then rows, columns as wide as their widest cell. */
#ifndef CLI_TABLE_H
#define CLI_TABLE_H

#include "base/limits.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum {
    TABLE_COLUMNS_MAX = 12,
    TABLE_ROWS_MAX = MEMBERS_MAX + 1, /* the first has the titles */
    TABLE_CELL_SIZE = ADDRESS_SIZE_MAX,
};

struct table {
    size_t column_count;
    size_t row_count;
    const bool *is_number; /* by column: it stands at the right */
    char cells[TABLE_ROWS_MAX][TABLE_COLUMNS_MAX][TABLE_CELL_SIZE];
};

/* Begins with the titles in the first row. They and `is_number` are borrowed. */
void table_init(struct table *table, const char *const *titles, const bool *is_number,
                size_t column_count);

/* A new row, of empty cells; returns its place. */
size_t table_row(struct table *table);

void table_set_text(struct table *table, size_t row, size_t column, const char *text);
void table_set_number(struct table *table, size_t row, size_t column, uint64_t number);

void table_print(const struct table *table, FILE *out);

#endif
