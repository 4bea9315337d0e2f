#!/usr/bin/env bash
# Blocks in memory, on disk and in both give the same answers; what was planned for memory
# goes to disk when there is none left; nothing stays behind.
# shellcheck source=test/support/lib.sh
source "$(dirname "$0")/../support/lib.sh"

"$reference" sql "
COPY (SELECT CASE WHEN i % 11 = 5 THEN NULL ELSE (i * i) % 37 END AS k, i AS v,
    's' || i % 5 AS s, DATE '2020-01-01' + (i % 400)::INTEGER AS d, i / 7 AS f,
    CASE WHEN i % 3 > 0 THEN [i % 4, NULL] END AS l, {'a': i % 3, 'b': ['x' || i % 2]} AS st
    FROM range(250000) r(i)) TO '$work/facts.parquet';
COPY (SELECT CASE WHEN i = 20 THEN NULL ELSE i * 2 END AS k, 'n' || i AS name
    FROM range(30) r(i)) TO '$work/dims.parquet'"
printf "CREATE VIEW facts AS FROM '%s/facts.parquet';\nCREATE VIEW dims AS FROM '%s/dims.parquet';\n" \
    "$work" "$work" >"$work/init.sql"

# 385 MiB leave one for blocks: 512 KiB for each of two tasks.
tiers=("--memory-dir none" "--memory 385MiB" "--memory 385MiB --threads 2" ""
    "--memory-dir none --spool-compression on" "--memory 385MiB --spool-compression on")
if under_asan; then tiers=("--memory 385MiB --threads 2" "--memory-dir none --spool-compression on"); fi
for tier in "${tiers[@]}"; do
    read -ra options <<<"$tier"
    check "queries with ${tier:-plenty}" same "$root/test/sql/queries.sql" "$work/init.sql" \
        unordered --workers 2 --partitions 7 --broadcast-rows -1 "${options[@]}"
done
check "nothing is left" nothing_left

# bytes JSON: of all blocks, and of those on disk.
shuffle="SELECT v % 200000 AS g, count(*), max(s || v) FROM facts GROUP BY g"
bytes() {
    "$SHOAL" explain --analyze "$shuffle" --init "$work/init.sql" --workers 2 --format json \
        "${spools[@]}" "$@" >"$work/plan.json"
    python3 - "$work/plan.json" <<'PYTHON'
import json
import sys

ran = [stage["ran"] for stage in json.load(open(sys.argv[1]))["stages"]]
print(sum(stage["bytes"] for stage in ran), sum(stage["bytes_on_disk"] for stage in ran))
PYTHON
}
placed() { # CONDITION OPTIONS...: of the two numbers
    local condition=$1 all disk
    shift
    read -r all disk < <(bytes "$@")
    [ "$all" -gt 2000000 ] && awk "BEGIN { all = $all; disk = $disk; exit !($condition) }" && return
    echo "$disk of $all bytes are on disk"
    return 1
}
check "all in memory" placed "disk == 0"
check "all on disk" placed "disk == all" --memory-dir none
check "a grant each in memory" placed "disk > all / 2 && all - disk > 500000 && all - disk < 1048576" \
    --memory 385MiB
read -r plain _ < <(bytes --memory-dir none --spool-compression auto)
check "compressed on disk" placed "disk == all && all < $plain * 0.8" --memory-dir none --spool-compression on
check "not in memory" placed "disk == 0 && all > $plain * 0.99 && all < $plain * 1.01" --spool-compression on
flipped() {
    SHOAL_FAULT=block.write:3+:flip fails 3 "checksum differs" sql "$shuffle" --init "$work/init.sql" \
        --workers 2 "${spools[@]}" --memory-dir none --spool-compression on
}
check "bits that are always flipped in what is compressed" flipped
check "compression is auto, on or off" fails 2 "choose auto, on or off" sql "SELECT 1" --spool-compression yes
"$SHOAL" explain --analyze "$shuffle" --init "$work/init.sql" --workers 2 "${spools[@]}" \
    --memory-dir none >"$work/plan"
check "text says it" grep -q 'ran: .* bytes ([0-9]* on disk), ' "$work/plan"

# A memory that is full before its grant is used: it fails from the N-th call on.
full() {
    local n
    printf '%s ORDER BY ALL' "$shuffle" >"$work/shuffle.sql"
    for n in 1 2 9; do
        SHOAL_FAULT=block.write:$n+:ENOSPC:$memory same "$work/shuffle.sql" "$work/init.sql" ordered \
            --workers 2 && nothing_left || return 1
    done
    SHOAL_FAULT=block.write:1+:ENOSPC:$memory placed "disk == all"
}
check "a full memory" full
check "a full memory and a full disk" env SHOAL_FAULT=block.write:1+:ENOSPC bash -c "
    ! '$SHOAL' sql \"FROM '$work/facts.parquet' ORDER BY v\" --workers 2 ${spools[*]} >'$work/out' 2>&1 &&
    grep -q 'free space there' '$work/out'"
check "no such folder" fails 3 "choose another with --memory-dir" sql "$shuffle" --init "$work/init.sql" \
    --workers 2 "${spools[@]}" --memory-dir /proc/nowhere
check "nothing is left in the end" nothing_left
# What a process leaves that dies before its folder has a mark; a user's folder stays.
swept() {
    mkdir -m 700 "$work/spools" "$work/spools/shoal-abcdef" "$work/spools/shoal-ghijkl"
    mkdir -m 755 "$work/spools/shoal-mnopqr"
    touch "$work/spools/shoal-ghijkl/a file"
    "$SHOAL" sql "SELECT count(*) FROM '$work/dims.parquet'" --workers 1 --temp-dir "$work/spools" >/dev/null &&
        [ "$(cd "$work/spools" && echo *)" = "shoal-ghijkl shoal-mnopqr" ]
}
check "folders of the dead" swept
finish
