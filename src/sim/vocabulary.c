/*
 * Keys and values: each value says which request wrote it.
 */
#include "sim/workload.h"

#include <stdio.h>

struct slice workload_key(const struct workload *workload, size_t key)
{
    return slice_of_string(workload->keys[key]);
}

/* Values say who wrote them, and are so unlike each other that no mixture passes. */
void workload_fill(struct buf *value, uint64_t number, size_t size)
{
    buf_clear(value);
    buf_put_u64(value, number);
    while (value->size < size) {
        buf_put_u8(value, (uint8_t)(number * 31 + value->size * 7));
    }
}

uint64_t workload_writer(const struct workload *workload, struct slice value)
{
    uint64_t number = value.size < VALUE_HEADER ? 0 : get_u64(value.data);
    if (number == 0 || number > workload->note_count) {
        return 0;
    }
    const struct operation_note *note = workload->notes[number - 1];
    if (note->operation != OPERATION_PUT || note->value_size != value.size) {
        return 0;
    }
    for (size_t i = VALUE_HEADER; i < value.size; i++) {
        if (value.data[i] != (uint8_t)(number * 31 + i * 7)) {
            return 0;
        }
    }
    return number;
}

uint64_t workload_number(struct slice value)
{
    uint64_t number = 0;
    for (size_t i = 0; i < value.size && value.size < 20; i++) {
        if (value.data[i] < '0' || value.data[i] > '9') {
            return 0;
        }
        number = number * 10 + (uint64_t)(value.data[i] - '0');
    }
    return number;
}

void workload_put_piece(struct buf *value, uint64_t number)
{
    char text[PIECE_SIZE + 1];
    (void)snprintf(text, sizeof text, "%07u;", (unsigned)(number % 10000000));
    buf_append(value, text, PIECE_SIZE);
}

uint64_t workload_piece(struct slice piece)
{
    bool is_piece = piece.size == PIECE_SIZE && piece.data[PIECE_SIZE - 1] == ';';
    return is_piece ? workload_number(slice_of(piece.data, PIECE_SIZE - 1)) : 0;
}
