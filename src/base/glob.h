/*
 * Patterns of keys, with the meaning that Redis gives them, byte for byte:
 *
 *     *          any bytes, also none
 *     ?          any one byte
 *     [abc]      one byte of the class; [a-z] is a range, [^abc] everything but these
 *     \x         x itself, also in a class
 *
 * Every pattern means something:
 *
 *     a class that is not closed goes to the end of the pattern; so "[" fits nothing and "[^" any
 *     byte. "]" closes wherever it stands, but for the end of a range and after a backslash: "[]"
 *     fits nothing
 *     a range may be given backwards. Its bounds and the byte are compared as signed numbers:
 *     0x80 to 0xff come before 0
 *     a backslash at the end stands for itself
 *     an empty text fits nothing but the empty pattern and a single "*"
 */
#ifndef BASE_GLOB_H
#define BASE_GLOB_H

#include "base/bytes.h"

/* Whether the pattern fits the whole text. At most pattern.size * text.size steps. */
bool glob_matches(struct slice pattern, struct slice text);

#endif
