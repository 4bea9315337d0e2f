// Hints in the text of a statement.
#include "plan/hints.h"

#include <stdio.h>
#include <string.h>

#include "support/harness.h"

// "KIND text|name|partitions; ..." of all hints.
static void expect(const char *sql, const char *expected) {
    static const char *const kinds[] = {"broadcast", "shuffle", "repartition", "place",
                                        "refused"};
    struct hints hints;
    struct shoal_error err;
    char found[1024] = "";
    assert_int_equal(hints_read(sql, &hints, &err), SHOAL_OK);
    for (size_t h = 0; h < hints.count; h++) {
        const struct hint *hint = &hints.list[h];
        size_t at = strlen(found);
        (void)snprintf(found + at, sizeof found - at, "%s%s %s|%s|%u", h ? "; " : "",
                       kinds[hint->kind], hint->text, hint->name ? hint->name : "",
                       hint->partitions);
        assert_true((hint->kind == HINT_REFUSED) == (hint->why != NULL));
    }
    hints_free(&hints);
    if (strcmp(found, expected) != 0) fail_msg("%s\ngives %s", sql, found);
}

static void hints_are_found(void **state) {
    (void)state;
    expect("SELECT 1", "");
    expect("SELECT /*+ BROADCAST(t) */ 1", "broadcast BROADCAST(t)|t|0");
    expect("select/*+broadcast(t)*/1", "broadcast broadcast(t)|t|0");
    expect("SELECT -- here\n /* x */ /*+ MapJoin( a , \"b c\",'d.parquet', db.t ) */ 1",
           "broadcast MapJoin(a)|a|0; broadcast MapJoin(b c)|b c|0; "
           "broadcast MapJoin(d.parquet)|d.parquet|0; broadcast MapJoin(db.t)|db.t|0");
    expect("SELECT /*+ MERGE(a), SHUFFLE_HASH(b) REPARTITION(8) */ 1",
           "shuffle MERGE(a)|a|0; shuffle SHUFFLE_HASH(b)|b|0; "
           "repartition REPARTITION(8)||8");
    expect(
        "SELECT (SELECT /*+ REPARTITION(1) */ 1), (SELECT /*+ REPARTITION(65536) */ 1)",
        "repartition REPARTITION(1)||1; repartition REPARTITION(65536)||65536");
    expect("SELECT /*+ REPARTITION(8, k) */ 1",
           "repartition REPARTITION(8, k)||8; place REPARTITION(8, k)|k|0");
    expect("SELECT /*+ BROADCAST(/* inside */ t) */ 1", "broadcast BROADCAST(t)|t|0");
}

static void what_is_none_is_refused(void **state) {
    (void)state;
    expect("SELECT /*+ FAST */ 1", "refused FAST||0");
    expect("SELECT /*+ FAST(x, y) BROADCAST(t) */ 1",
           "refused FAST(x, y)||0; broadcast BROADCAST(t)|t|0");
    expect("SELECT /*+ BROADCAST */ 1", "refused BROADCAST||0");
    expect("SELECT /*+ BROADCAST() */ 1", "refused BROADCAST()||0");
    expect("SELECT /*+ BROADCAST('', ,) */ 1", "refused BROADCAST('', ,)||0");
    expect("SELECT /*+ BROADCAST(t */ 1", "broadcast BROADCAST(t)|t|0");
    expect("SELECT /*+ BROADCAST( */ 1", "refused BROADCAST(||0");
    expect("SELECT /*+ ) ( */ 1", "refused ) (||0");
    expect("SELECT /*+ COALESCE(3) */ 1", "refused COALESCE(3)||0");
    static const char *const numbers[] = {"",    "0", "-1",         "65537",
                                          "1.5", "k", "99999999999"};
    for (size_t n = 0; n < sizeof numbers / sizeof *numbers; n++) {
        char sql[80], expected[80];
        (void)snprintf(sql, sizeof sql, "SELECT /*+ REPARTITION(%s) */ 1", numbers[n]);
        (void)snprintf(expected, sizeof expected, "refused REPARTITION(%s)||0",
                       numbers[n]);
        expect(sql, expected);
    }
    expect("/*+ A */ SELECT DISTINCT /*+ B(c) */ 1",
           "refused /*+ A */||0; refused /*+ B(c) */||0");
}

static void what_is_no_comment_has_none(void **state) {
    (void)state;
    expect("SELECT '/*+ A */', \"/*+ A */\", $$ /*+ A */ $$", "");
    expect("SELECT -- /*+ A */\n 1 /* /*+ A */ */", "");
    expect("SELECT /*+*/ 1", "");
    expect("SELECT /*+", "");
    expect("SELECT /*+ A", "refused A||0");
    expect("SELECT /*", "");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hints_are_found),
        cmocka_unit_test(what_is_none_is_refused),
        cmocka_unit_test(what_is_no_comment_has_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
