#include "cli/table.h"

#include "base/assert.h"

#include <string.h>

void table_init(struct table *table, const char *const *titles, const bool *is_number,
                size_t column_count)
{
    CHECK(column_count <= TABLE_COLUMNS_MAX);
    table->column_count = column_count;
    table->row_count = 0;
    table->is_number = is_number;
    (void)table_row(table);
    for (size_t column = 0; column < column_count; column++) {
        table_set_text(table, 0, column, titles[column]);
    }
}

size_t table_row(struct table *table)
{
    CHECK(table->row_count < TABLE_ROWS_MAX);
    size_t row = table->row_count++;
    for (size_t column = 0; column < table->column_count; column++) {
        table->cells[row][column][0] = '\0';
    }
    return row;
}

void table_set_text(struct table *table, size_t row, size_t column, const char *text)
{
    (void)snprintf(table->cells[row][column], TABLE_CELL_SIZE, "%s", text);
}

void table_set_number(struct table *table, size_t row, size_t column, uint64_t number)
{
    (void)snprintf(table->cells[row][column], TABLE_CELL_SIZE, "%llu", (unsigned long long)number);
}

static int width_of(const struct table *table, size_t column)
{
    size_t width = 0;
    for (size_t row = 0; row < table->row_count; row++) {
        size_t size = strlen(table->cells[row][column]);
        width = size > width ? size : width;
    }
    return (int)width;
}

void table_print(const struct table *table, FILE *out)
{
    int widths[TABLE_COLUMNS_MAX] = {0};
    for (size_t column = 0; column < table->column_count; column++) {
        widths[column] = width_of(table, column);
    }
    for (size_t row = 0; row < table->row_count; row++) {
        for (size_t column = 0; column < table->column_count; column++) {
            bool is_last = column + 1 == table->column_count;
            int width = table->is_number[column] ? widths[column] : -widths[column];
            if (is_last && !table->is_number[column]) {
                width = 0; /* no blanks at the end of the line */
            }
            (void)fprintf(out, "%*s%s", width, table->cells[row][column], is_last ? "\n" : "  ");
        }
    }
}
