#!/usr/bin/env bash
# What others on the machine can see of a run, and what its workers can reach.
# shellcheck source=test/support/lib.sh
source "$(dirname "$0")/../support/lib.sh"
mkdir "$work/in" "$work/else"
cd "$work"
"$reference" sql "COPY (SELECT i AS k, i % 10 AS m FROM range(300000) r(i)) TO 'in/t.parquet';
COPY (FROM 'in/t.parquet') TO 'else/t.parquet';
COPY (SELECT k FROM 'in/t.parquet') TO 'in/c.csv'; COPY (SELECT k FROM 'in/t.parquet') TO 'else/c.csv'"
printf 'k\n1\nx\n2\n' >bad.csv
ln -s "$work/else/c.csv" in/link.csv

# Whatever the umask: nobody else reads block files, pipes, rejected rows.
private() {
    (
        umask 0
        exec "$SHOAL" sql "SELECT a.k % 7, count(*) FROM 'in/t.parquet' a JOIN 'in/c.csv' c ON a.k = c.k,
            read_csv('bad.csv') b, 'in/t.parquet' d WHERE (a.k * 7919 + d.k) % 1000003 = 3 GROUP BY 1" \
            --rejects "$work/rejects" --workers 2 --threads "$1" --broadcast-rows -1 --split-rows 1000 "${spools[@]}" \
            --memory-dir "$2" 2>err >/dev/null
    ) &
    local driver=$! files=0 open="" _
    for _ in {1..40}; do
        files=$((files + $(find "$spool" "$memory" -path '*/q*' -type f 2>/dev/null | wc -l)))
        open+=$(find "$spool" "$memory" -mindepth 1 -perm /077 2>/dev/null || true)
        sleep 0.02
    done
    kill -INT "$driver"
    wait "$driver" || true
    [ "$files" -gt 0 ] && [ -z "$open" ] && nothing_left && return
    echo "$files files, open to others: $open"
    cat err
    return 1
}
check "files are private" private 1 "$memory"
check "files on disk are private" private 1 none
check "files of several threads are private" private 2 none

groups() {
    "$SHOAL" sql "SELECT count(*), max(k) FROM '$1' GROUP BY k % 3 ORDER BY ALL LIMIT 1" --format csv --workers 2 \
        --split-rows 1000 "${spools[@]}" "${@:2}"
}
for file in in/t.parquet "$work/in/t.parquet" 'in/*.parquet' in/c.csv; do
    allowed() { [ "$(groups "$file" --allow-paths in)" = $'count_star(),max(k)\n100000,299997' ] && nothing_left; }
    check "$file is allowed" allowed
done
for file in else/t.parquet else/c.csv in/../else/t.parquet in/link.csv; do
    check "$file is not" fails 2 "--allow-paths doesn't let workers" sql \
        "SELECT count(*), max(k) FROM '$file' GROUP BY k % 3" --workers 2 --split-rows 1000 "${spools[@]}" --allow-paths in
done
copy="COPY (SELECT m, count(*) AS n FROM 'in/t.parquet' GROUP BY m)"
check "a sink that is not" fails 2 "doesn't let workers write to" sql "$copy TO 'else/o' (FORMAT parquet, PER_THREAD_OUTPUT)" \
    --workers 2 "${spools[@]}" --allow-paths in
sink() {
    "$SHOAL" sql "$copy TO 'else/o' (FORMAT parquet, PER_THREAD_OUTPUT)" --workers 2 "${spools[@]}" --allow-paths in,else \
        >/dev/null && [ "$("$SHOAL" sql "SELECT sum(n)::INTEGER AS n FROM 'else/o/*.parquet'" --format csv)" = $'n\n300000' ]
}
check "a sink that is" sink
check "no folder" fails 2 '--allow-paths nowhere: give folders' sql "SELECT 1" --allow-paths in,nowhere

# Settings are locked in workers, but for what the session sets.
setting() {
    "$SHOAL" sql "$2 SELECT DISTINCT current_setting('$1') AS v FROM 'in/t.parquet' WHERE k % 2 = 0" \
        --format csv --workers 2 "${spools[@]}" | tail -n 1
}
set_here() {
    [ "$(setting TimeZone "SET TimeZone = 'Asia/Tokyo';")" = Asia/Tokyo ] &&
        [ "$("$SHOAL" sql "SET TimeZone = 'UTC'; SELECT count(*) AS n FROM 'in/t.parquet' GROUP BY k % 1; SET TimeZone = 'Asia/Tokyo';
            SELECT count(*) AS n FROM 'in/t.parquet' GROUP BY k % 1" --format csv --workers 2 "${spools[@]}")" = $'n\n300000\nn\n300000' ]
}
check "settings of the session" set_here
# The secret that worker and driver share is in no argument and no variable.
no_secret() {
    "$SHOAL" sql "SELECT count(*) FROM 'in/t.parquet' a, 'in/t.parquet' b WHERE (a.k * 7919 + b.k) % 1000003 = 3" \
        --workers 1 "${spools[@]}" 2>/dev/null &
    local driver=$! worker="" _
    for _ in {1..500}; do
        worker=$(pgrep -P "$driver" -f ' worker ' | head -n 1 || true)
        [ -n "$worker" ] && break
        sleep 0.01
    done
    local arguments
    arguments=$(tr '\0' ' ' <"/proc/$worker/cmdline")
    kill -INT "$driver"
    wait "$driver" || true
    [[ $arguments == *" worker --fd 3 --secret-fd 4 " ]]
}
check "no secret in the arguments" no_secret
finish
