/* The ground: bytes, heap, prng, members, errors. */
#include "base/bytes.h"
#include "base/heap.h"
#include "base/list.h"
#include "base/members.h"
#include "base/prng.h"
#include "kvapp/err.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static void slices_order_by_unsigned_bytes_and_prefix_first(void **state)
{
    (void)state;
    assert_true(slice_compare(slice_of("a", 1), slice_of("ab", 2)) < 0);
    assert_true(slice_compare(slice_of("\xff", 1), slice_of("a", 1)) > 0);
    assert_int_equal(slice_compare(slice_of(NULL, 0), slice_of("", 0)), 0);
    assert_true(slice_has_prefix(slice_of("ab", 2), slice_of("a", 1)));
    assert_false(slice_has_prefix(slice_of("a", 1), slice_of("ab", 2)));
}

static void reader_reads_back_what_a_buffer_took(void **state)
{
    (void)state;
    struct buf buf = {0};
    buf_put_u8(&buf, 7);
    buf_put_u16(&buf, 0xfedc);
    buf_put_u32(&buf, 0xdeadbeef);
    buf_put_u64(&buf, 0x0123456789abcdef);
    buf_put_sized(&buf, slice_of("xyz", 3));
    struct reader reader = reader_of(buf_slice(&buf));
    assert_int_equal(reader_u8(&reader), 7);
    assert_int_equal(reader_u16(&reader), 0xfedc);
    assert_int_equal(reader_u32(&reader), 0xdeadbeef);
    assert_int_equal(reader_u64(&reader), 0x0123456789abcdef);
    assert_true(slice_equal(reader_sized(&reader), slice_of("xyz", 3)));
    assert_true(reader_finished(&reader));
    buf_done(&buf);
}

static void reader_fails_once_and_stays_failed(void **state)
{
    (void)state;
    uint8_t bytes[6] = {0xff, 0xff, 0xff, 0xff, 1, 2};
    struct reader reader = reader_of(slice_of(bytes, sizeof bytes));
    assert_int_equal(reader_sized(&reader).size, 0);
    assert_true(reader.failed);
    assert_int_equal(reader_u8(&reader), 0);
    assert_false(reader_finished(&reader));
}

static void heap_gives_back_in_order_with_random_removals(void **state)
{
    (void)state;
    enum { COUNT = 1000 };
    static struct heap_node nodes[COUNT];
    struct heap heap = {0};
    struct prng prng;
    prng_init(&prng, 1);
    for (int i = 0; i < COUNT; i++) {
        heap_push(&heap, &nodes[i], prng_between(&prng, 0, 100));
    }
    for (int i = 0; i < COUNT; i += 3) {
        heap_remove(&heap, &nodes[i]);
        heap_remove(&heap, &nodes[i]);
    }
    uint64_t last_key = 0;
    uint64_t last_order = 0;
    size_t left = heap.count;
    for (struct heap_node *top = heap_top(&heap); top != NULL; top = heap_top(&heap)) {
        assert_true(top->key > last_key || (top->key == last_key && top->order >= last_order));
        last_key = top->key;
        last_order = top->order;
        heap_remove(&heap, top);
        left--;
    }
    assert_int_equal(left, 0);
    heap_done(&heap);
}

static void prng_is_the_same_everywhere(void **state)
{
    (void)state;
    struct prng prng;
    prng_init(&prng, 42);
    assert_int_equal(prng_next(&prng), 0x15780b2e0c2ec716);
    for (int i = 0; i < 1000; i++) {
        uint64_t draw = prng_between(&prng, 150, 300);
        assert_in_range(draw, 150, 300);
    }
}

static void members_are_numbered_or_named(void **state)
{
    (void)state;
    char error[256] = "";
    struct members members;
    assert_int_equal(members_parse("a:1,b:2,[::1]:3", &members, error, sizeof error), 0);
    assert_int_equal(members.count, 3);
    assert_int_equal(members.at[2].id, 3);
    assert_string_equal(members.at[2].address, "[::1]:3");
    assert_int_equal(members_parse("7=a:1,3=b:2", &members, error, sizeof error), 0);
    assert_string_equal(members_find(&members, 3)->address, "b:2");
    assert_int_equal(members_find_address(&members, "a:1")->id, 7);
    assert_null(members_find(&members, 1));
}

static void bad_members_get_a_sentence(void **state)
{
    (void)state;
    const char *bad[] = {"",
                         "a:1,",
                         "a",
                         "a:0",
                         "a:65536",
                         ":1",
                         "a:x",
                         "1=a:1,b:2",
                         "0=a:1",
                         "1=a:1,1=b:2",
                         "a:1,a:1",
                         "::1:80",
                         "a:1,b:2,c:3,d:4,e:5,f:6,g:7,h:8,i:9,j:10"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char error[256] = "";
        struct members members;
        assert_int_equal(members_parse(bad[i], &members, error, sizeof error), KV_ERR_INVALID);
        assert_true(error[0] != '\0');
    }
}

static void port_offsets_do_not_wrap(void **state)
{
    (void)state;
    char address[ADDRESS_SIZE_MAX];
    assert_int_equal(address_add_port("localhost:8080", 1000, address), 0);
    assert_string_equal(address, "localhost:9080");
    assert_int_equal(address_add_port("[::1]:8080", 0, address), 0);
    assert_string_equal(address, "[::1]:8080");
    assert_int_equal(address_add_port("a:65000", 1000, address), KV_ERR_ADDRESS);
}

static void every_error_has_name_kind_and_sentence(void **state)
{
    (void)state;
    assert_string_equal(kvapp_err_name(KV_ERR_NOT_FOUND), "NOT_FOUND");
    assert_string_equal(kvapp_err_kind(KV_ERR_NOT_FOUND), "key-value");
    assert_string_equal(kvapp_err_name(0), "OK");
    assert_string_equal(kvapp_err_name(-9999), "UNKNOWN");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slices_order_by_unsigned_bytes_and_prefix_first),
        cmocka_unit_test(reader_reads_back_what_a_buffer_took),
        cmocka_unit_test(reader_fails_once_and_stays_failed),
        cmocka_unit_test(heap_gives_back_in_order_with_random_removals),
        cmocka_unit_test(prng_is_the_same_everywhere),
        cmocka_unit_test(members_are_numbered_or_named),
        cmocka_unit_test(bad_members_get_a_sentence),
        cmocka_unit_test(port_offsets_do_not_wrap),
        cmocka_unit_test(every_error_has_name_kind_and_sentence),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
