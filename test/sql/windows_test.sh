#!/usr/bin/env bash
# Windows over keys of which one has half of the rows give the embedded engine's values,
# whether its partition is one task's or comes apart by order: by sizes, wherever it is
# legal, and by chance.
# shellcheck source=test/support/lib.sh
source "$(dirname "$0")/../support/lib.sh"

skewed_init 60000  # fewer are planned without parts
shuffled=(--broadcast-rows -1 --cluster-rows -1 --workers 2)

windows() { # OPTIONS...
    same "$root/test/sql/windows_skew.sql" "$work/skewed.sql" ordered "${shuffled[@]}" "$@"
}
check "wherever it is legal" windows --skew always
if ! under_asan; then check "by sizes" windows; fi
seeds=()
if [ -n "${ALL:-}" ]; then
    seeds=(1 2 3 4)
    check "wherever it is legal, over many partitions" windows --skew always --partitions 13
fi
for seed in ${SEEDS:-${seeds[@]}}; do
    check "seed $seed" windows --skew "random:$seed" --threads 2
done

if under_asan; then finish; exit; fi

# By sizes a partition comes in parts where three passes over its rows pay.
skewed_init 500000
# says QUERY OPTIONS... TEXT: what EXPLAIN ANALYZE says has the text, a pattern.
says() {
    "$SHOAL" explain --analyze --init "$work/skewed.sql" "${shuffled[@]}" "${spools[@]}" \
        "${@:1:$#-1}" >"$work/plan" || return 1
    grep -qE -- "${!#}" "$work/plan" || { cat "$work/plan"; return 1; }
}
windowed="SELECT k, v, row_number() OVER w, lag(v) OVER w FROM hot WINDOW w AS (PARTITION BY k ORDER BY v)"
check "a heavy partition comes in parts" says "$windowed" \
    '1 heavy partition comes in parts: [2-9] tasks'
check "what sums them up is named" grep -q 'Window partial functions=\[row_number, lag\]' "$work/plan"
check "and what samples them" grep -qE 'SampleExchange keys=\[k ASC NULLS LAST, v ASC' "$work/plan"
check "nothing is heavy" says \
    "SELECT v, row_number() OVER (PARTITION BY v % 1000 ORDER BY v) FROM hot" 'ran: no task'
check "and nothing is said of parts" bash -c "! grep -q adapted.*parts '$work/plan'"
check "off plans none" says "$windowed" --skew off 'Window'
check "not one stage" bash -c "! grep -q SampleExchange '$work/plan'"
# Windows with running aggregates are streamed.
running="SELECT k, v, sum(v) OVER w, lag(v) OVER w FROM hot WINDOW w AS (PARTITION BY k ORDER BY v)"
streamed='windows are streamed'
check "running sums are streamed" says "$running" "$streamed"
check "and sums of decimals" says "${running/sum(v)/sum(v::DECIMAL(12, 2))}" "$streamed"
check "and of floats" says "${running/sum(v)/sum(sqrt(v))}" "$streamed"
not_streamed() { says "$1" 'Window' && ! grep -q "$streamed" "$work/plan"; }
check "of small groups too" says "${running/BY k/BY v // 4}" "$streamed"
check "not a largest value" not_streamed "${running/sum(v)/max(v)}"
check "nor a sum of larger numbers" not_streamed "${running/sum(v)/sum(v::DECIMAL(20, 2))}"
check "nor one of no known type" not_streamed "${running/FROM hot/FROM (SELECT k, v + 1 AS v FROM hot)}"
check "nor what has no running aggregate" not_streamed "${running/sum(v)/rank()}"
# Rows are sorted by a word first that has group and order (duck/sort_words.c), for most types
# of both: groups that have many rows, and few; all keys of one row differ in v.
"$SHOAL" sql "COPY (SELECT range AS v, (range * 7919) % 60013 AS x FROM range(60000)) TO '$work/v.parquet'" >/dev/null
"$SHOAL" sql "COPY (SELECT v, if(v % 3 = 0, 5, hash(v, 1) % 9000)::BIGINT AS k, k::INTEGER AS i, k::UBIGINT AS u,
    'k' || k AS s, DATE '1900-01-01' + k::INTEGER AS d, (k / 100)::DECIMAL(9, 2) AS m, if(k % 5 = 0, NULL, k) AS n,
    (k / 7)::DOUBLE AS f, md5(k::VARCHAR)::UUID AS g, x, nullif(x % 50, 3)::TINYINT AS few,
    make_timestamp(x * 86399999) AS t, x::UBIGINT AS ux, (x / 100)::DECIMAL(12, 2) AS dx,
    if(x % 40 = 0, 'nan', if(x % 40 = 1, '-0.0', (x - 30000)::VARCHAR))::DOUBLE AS fx,
    DATE '2000-01-01' + x::INTEGER AS day, 's' || x AS sx, x::HUGEINT * 1000000000000000000000 AS hx
    FROM '$work/v.parquet') TO '$work/typed.parquet'" >/dev/null
: >"$work/types.sql"
orders=('x DESC' 'few NULLS FIRST, v' 'few DESC, x' 't' 'ux DESC' 'dx' 'fx, v' 'fx DESC, v DESC' 'day DESC' 'sx' 'hx')
keys=(k i u s d m n f g 'k % 20' 'n, s' 'i, d' "s || 'a long one, longer than forty bytes'")
for i in $(seq ${#keys[@]}); do
    for order in "${orders[i % 11]}" "${orders[i * 5 % 11]}"; do
        echo "SELECT count(*), sum(hash(v, s, l, r) % 1000003) FROM (SELECT v, sum(v) OVER w AS s, lag(v) OVER w AS l,
            row_number() OVER w AS r FROM typed WINDOW w AS (PARTITION BY ${keys[i - 1]} ORDER BY $order));"
    done
done >"$work/types.sql"
echo "CREATE VIEW typed AS FROM '$work/typed.parquet';" >"$work/typed_view.sql"
check "words of sort keys" same "$work/types.sql" "$work/typed_view.sql" ordered "${shuffled[@]}" --partitions 3
check "in parts" same "$work/types.sql" "$work/typed_view.sql" ordered "${shuffled[@]}" --skew always
# Two groups of one partition, each with more than a part's rows: no part has rows of both,
# so each is summed up as one row.
"$SHOAL" sql "COPY (SELECT if(r < 13, 'ab', if(r < 49, 'abc', if(r < 71, NULL, 'b'))) AS k,
    (hash(range) % 1000000)::INT AS v FROM (SELECT range, hash(range, 1) % 100 AS r
    FROM range(400000))) TO '$work/groups.parquet'" >/dev/null
own_parts() { # KEYS
    says "SELECT sum(v) OVER (PARTITION BY $1 ORDER BY v) FROM '$work/groups.parquet'" \
        --split-rows 50000 'heavy partition.* in parts' || return 1
    local ran
    ran=$(grep -A1 'CombineExchange' "$work/plan" | sed -nE 's/.*ran: ([0-9]+) tasks, ([0-9]+) rows.*/\1 \2/p')
    if [ -z "$ran" ] || [ "${ran% *}" != "${ran#* }" ]; then
        cat "$work/plan"
        return 1
    fi
}
check "heavy groups have parts of their own" own_parts k
check "of several keys" own_parts "(length(k) * 1000)::BIGINT, k, v < 0"
# The parts of one group are streamed: their order is kept only if all of it is.
streams() { # CALL
    "$SHOAL" sql "EXPLAIN SELECT $1 FROM (SELECT range AS v FROM range(100000) ORDER BY v DESC)" \
        >"$work/plan" || return 1
    grep -q 'Streaming Window' "$work/plan" && ! grep -q '─ Window' "$work/plan"
}
for call in 'row_number() OVER ()' 'lag(v, 64) OVER ()' 'lead(v, 64) OVER ()' 'lag(v, 0) OVER ()' \
    'first_value(v) OVER running' 'count(*) FILTER (WHERE v > 3) OVER running' 'count(v) OVER running' \
    'sum(v) OVER running' 'sum(v::BIGNUM) OVER running' 'max([v]) OVER running' \
    'min(v::VARCHAR) OVER running' 'bool_and(v > 3) OVER running' 'bool_or(v > 3) OVER running' \
    'bit_and(v) OVER running' 'bit_or(v::INT::BIT) OVER running' 'bit_xor(v) OVER running'; do
    check "DuckDB streams $call" streams "${call/running/(ROWS UNBOUNDED PRECEDING)}"
done
# whole FUNCTION WHY: one task reads the heavy partition, and EXPLAIN ANALYZE says why.
whole() { says "SELECT v, $1 OVER (PARTITION BY k ORDER BY v) FROM hot" "one task reads it, as $2"; }
check "a function" whole "nth_value(v, 2)" 'nth_value\(\) sees whole groups'
check "an aggregate" whole "median(v)" '[a-z_]+\(\) sees whole groups'
check "DISTINCT" whole "count(DISTINCT v)" 'count\(\) with DISTINCT'
check "an offset that is no constant" whole "lag(v, v % 3)" 'lag\(\) has an argument that is no small constant'
check "an offset that is large" whole "lead(v, 5000)" 'lead\(\) has an argument that is no small constant'
check "a frame" says \
    "SELECT v, sum(v) OVER (PARTITION BY k ORDER BY v ROWS 5 PRECEDING) FROM hot" \
    'as sum\(\) over a frame that ends between rows'
check "another ORDER BY" says \
    "SELECT v, rank() OVER (PARTITION BY k ORDER BY v), sum(v) OVER (PARTITION BY k ORDER BY v DESC) FROM hot" \
    'as sum\(\) has another ORDER BY than a window beside it'
check "whole groups above" says \
    "SELECT k, median(r) FROM (SELECT k, row_number() OVER (PARTITION BY k ORDER BY v) AS r FROM hot) GROUP BY k" \
    'as an aggregate takes whole groups, above a window'

# The stage that has the windows writes the files.
out=$work/out
check "COPY" "$SHOAL" sql --init "$work/skewed.sql" "${shuffled[@]}" "${spools[@]}" --skew always \
    "COPY ($windowed) TO '$out' (FORMAT parquet, PER_THREAD_OUTPUT)"
sum() { "$SHOAL" sql --init "$work/skewed.sql" --format csv "SELECT count(*), sum(hash(COLUMNS(*)) % 1000003) FROM ($1)"; }
check "writes the rows" test "$(sum "FROM '$out/*.parquet'" | tail -1)" = "$(sum "$windowed" | tail -1)"
check "nothing is left" nothing_left
finish
