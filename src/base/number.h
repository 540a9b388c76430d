/*
 * Numbers as text, as strict as Redis is with them: in its protocol, its commands and in values
 * that are counted with. Nothing here looks at
 * the process's locale.
 */
#ifndef BASE_NUMBER_H
#define BASE_NUMBER_H

#include "base/bytes.h"

/*
 * The only text of each number of 64 bits, as number_format writes it: digits, before them a "-"
 * if it is below zero, and nothing else: no blanks, no "+", no zeros in front, no "-0".
 */
bool number_parse(struct slice text, int64_t *ret_value);

/* Appends the number's text. */
void number_format(int64_t value, struct buf *out);

/*
 * What strtold takes as a whole: "1.5", "+1", ".5", "1.", "1e3", "0x1p3", "inf"; a text of 1 to
 * 5119 bytes. False for blanks on either side, for what is not a number ("nan") and for what a
 * long double cannot hold: "1e5000", and "1e-5000", which would become 0.
 */
bool number_parse_float(struct slice text, long double *ret_value);

/*
 * Appends the number with at most 17 digits behind the point, without zeros at the end; what is so
 * small that nothing is left is "0". False for infinity and what is not a number.
 */
bool number_format_float(long double value, struct buf *out);

#endif
