/*
 * The longest common subsequence of two byte strings: the longest that is left of both when some
 * bytes of each are taken away. Of several the one that Redis's LCS gives.
 */
#ifndef KV_LCS_H
#define KV_LCS_H

#include "base/bytes.h"

/*
 * The largest (a.size + 1) * (b.size + 1): two values of 11 KiB, say. It is what Redis takes with
 * its default settings, and it bounds one step of the loop: 5 to 30 ms and at most 32 MiB.
 */
enum { LCS_CELLS_MAX = 128 * 1024 * 1024 };

/*
 * The size of the subsequence. Unless they are NULL, appends its bytes to ret_bytes; and to
 * ret_matches, by lcs_match_encode (kv/command.h), the ranges that match, the last one first:
 * those of at least match_size_min bytes. A range ends where either string has a byte between
 * two of the subsequence. Both are values or parts of values, within LCS_CELLS_MAX.
 */
uint32_t lcs_find(struct slice a, struct slice b, uint32_t match_size_min, struct buf *ret_bytes,
                  struct buf *ret_matches);

#endif
