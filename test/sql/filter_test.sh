#!/usr/bin/env bash
# Runtime filters: a large side is joined to the keys of a small one before it is shuffled,
# for every kind of join that may drop its rows, with NULLs and duplicates on both sides,
# and not where the keys turn out to be many.
# shellcheck source=test/support/lib.sh
source "$(dirname "$0")/../support/lib.sh"

"$reference" sql "
COPY (SELECT CASE WHEN i % 101 = 7 THEN NULL ELSE hash(i) % 200000 END AS k, i % 13 AS j, i AS v
    FROM range(1500000) r(i)) TO '$work/large.parquet';
COPY (SELECT CASE WHEN i % 50 = 3 THEN NULL ELSE hash(i, 1) % 220000 END AS k, i % 13 AS j, i AS id,
        's' || i % 40 AS s FROM range(600000) r(i)) TO '$work/small.parquet'"
cat >"$work/init.sql" <<SQL
CREATE VIEW large AS FROM '$work/large.parquet';
CREATE VIEW small AS FROM '$work/small.parquet';
SQL

more=()
# filtered YES|NO QUERY: the same answer as embedded, with or without a runtime filter.
filtered() {
    local options=(--init "$work/init.sql" --workers 2 "${spools[@]}" --cluster-rows -1 "${more[@]}")
    "$reference" sql --init "$work/init.sql" --format csv "$2" >"$work/expected" || return 1
    "$SHOAL" sql "${options[@]}" --format csv "$2" >"$work/actual" || return 1
    diff "$work/expected" "$work/actual" && nothing_left || return 1
    "$SHOAL" explain --analyze "${options[@]}" "$2" >"$work/plan" || return 1
    case $1 in
        yes) grep -q 'RuntimeFilter by exchange' "$work/plan" && ! grep -q 'left out' "$work/plan" ;;
        no) ! grep -q RuntimeFilter "$work/plan" ;;
        left-out) grep -q 'runtime filter left out: [0-9]* rows' "$work/plan" ;;
    esac || { cat "$work/plan"; return 1; }
}

few="s = 's3' AND id % 7 < 3"
check "SEMI JOIN" filtered yes \
    "SELECT count(*), sum(id) FROM small SEMI JOIN large l ON l.k = small.k AND l.v <> small.id WHERE $few"
check "ANTI JOIN" filtered yes \
    "SELECT count(*), sum(id) FROM small ANTI JOIN large l ON l.k = small.k AND l.v <> small.id WHERE $few"
check "the small side preserved" filtered yes \
    "SELECT count(*), count(v), sum(id), sum(v) FROM small LEFT JOIN large USING (k) WHERE $few"
check "several keys" filtered yes \
    "SELECT count(*), count(v), sum(id), sum(v) FROM small LEFT JOIN large USING (k, j) WHERE $few"
check "keys where NULL equals NULL" filtered yes \
    "SELECT count(*), sum(id) FROM small ANTI JOIN large l
        ON l.k IS NOT DISTINCT FROM small.k AND l.v <> small.id AND l.j > 3 WHERE $few"
check "the large side preserved" filtered no \
    "SELECT count(*), count(id), sum(id), sum(v) FROM large LEFT JOIN (FROM small WHERE $few) USING (k)"
check "both sides preserved" filtered no \
    "SELECT count(*), count(id), sum(id), sum(v) FROM large FULL JOIN (FROM small WHERE $few) USING (k)"
# Taken for a hundredth of its rows, it keeps all of them.
all="length(s) > 1 AND abs(id) + 1 > 0 AND s || 'x' > 's'"
check "more keys than estimated" filtered left-out \
    "SELECT count(*), sum(id) FROM small ANTI JOIN large l ON l.k = small.k AND l.v <> small.id WHERE $all"
more=(--merge-segments 0 --partitions 40)
check "exchanges in two levels" filtered yes \
    "SELECT count(*), count(v), sum(id), sum(v) FROM small LEFT JOIN large USING (k) WHERE $few"
check "the same, more keys than estimated" filtered left-out \
    "SELECT count(*), sum(id) FROM small ANTI JOIN large l ON l.k = small.k AND l.v <> small.id WHERE $all"
finish
