#!/usr/bin/env bash
# Workers that dial back over TCP, on nodes that don't see each other's files: the rows are
# right, with files fetched from block servers, when workers and nodes die, and the driver
# does. The host program is test/support/local_host.py; real clusters: ./dev cluster-test.
# shellcheck source=test/support/lib.sh
source "$(dirname "$0")/../support/lib.sh"
export NODES=3
hosted=(--engine ray://local --python "$root/test/support/local_host.py" --workers 3)
shuffles=(--broadcast-rows -1 --cluster-rows -1 --partitions 6 --split-rows 20000)
rows=400000
under_asan && rows=100000
hosted_init "$rows"

no_workers() {
    ! pgrep -f "^$program worker --connect" >/dev/null || {
        echo 'workers are left'
        return 1
    }
}
own_is_empty() {
    [ -z "$(ls -A "$TMPDIR")" ] || {
        echo "left: $(find "$TMPDIR" | head)"
        return 1
    }
}
clean() { nothing_left && no_workers && own_is_empty; }

right() { # OPTIONS...
    same "$work/joins.sql" "$work/init.sql" unordered "${hosted[@]}" "${shuffles[@]}" "$@" && clean
}
check "folders that all see" right --spool shared
check "folders are looked for" right
check "each node has its own" right --spool own
NODES=1 check "all on one node, of its own" right --spool own
check "own, without memory" right --spool own --memory-dir none
SHOAL_TLS=always check "own, under TLS" right --spool own

# Bytes of a block that change on their way are noticed, and fetched again.
SHOAL_FAULT=remote.read:3:flip check "a bit flips on the way" right --spool own
SHOAL_FAULT=server.read:5:EIO check "a server can't read" right --spool own
SHOAL_FAULT=remote.connect:2:EIO check "a connection is refused" right --spool own

# Nodes that see the driver's folders beside one that doesn't: all of them read all files.
beside() {
    HIDDEN="$spool $memory" right "$@" 2>"$work/err" && ! grep -q 'lost' "$work/err" && return
    head -5 "$work/err"
    return 1
}
if unshare -rm sh -c "mount -t tmpfs none '$spool'" 2>/dev/null; then
    NODES=2 check "one node sees the driver's folders" beside --workers 4
    NODES=2 check "one sees them, without memory" beside --workers 4 --memory-dir none
fi

# One task makes all that six read, once the first query has all three workers up.
"$reference" sql "COPY (FROM range(5000) r(k)) TO '$work/one.parquet'"
near() {
    "$SHOAL" explain --analyze "${spools[@]}" "${hosted[@]}" --spool "$1" "${shuffles[@]}" \
        --init "$work/init.sql" "SELECT count(*) FROM t a JOIN t b ON a.k = b.k + 1;
            SELECT k % 100 AS m, count(*) FROM '$work/one.parquet' GROUP BY m" \
        >"$work/plan" 2>&1 && clean
}
check "tasks that all read from one node" near own
check "run there if they can" grep -q 'locality: [1-6] of 6 tasks ran on the node' "$work/plan"
check "where all see all files" near shared
check "no node is better" bash -c "! grep locality '$work/plan'"

# What the cluster is told for its own monitoring: what the three queries did, and in the end
# that nothing is left.
export METRICS=$work/metrics
check "with metrics" right --spool own
unset METRICS
counted() {
    python3 - "$work/metrics" <<'PYTHON'
import json
import sys

lines = [json.loads(line) for line in open(sys.argv[1])]
last = lines[-1]
print(last)
grows = ("tasks_done", "tasks_failed", "workers_lost", "rows", "bytes")
assert all(a[name] <= b[name] for a, b in zip(lines, lines[1:]) for name in grows)
assert last["tasks_done"] >= 15 and last["rows"] > 100000 and last["bytes"] > 1000000
assert last["workers"] == last["tasks_running"] == last["tasks_waiting"] == 0
assert last["workers_lost"] == last["tasks_failed"] == 0
PYTHON
}
check "what is told adds up" counted

# What a sink writes goes to the target itself, which all must see.
sink() {
    local got
    "$SHOAL" sql "${spools[@]}" "${hosted[@]}" --spool own "${shuffles[@]}" --init "$work/init.sql" \
        "COPY (SELECT g, count(*) AS n, sum(k) AS s FROM t GROUP BY g) TO '$work/target' (FORMAT parquet, PER_THREAD_OUTPUT, OVERWRITE)" \
        >/dev/null 2>"$work/err" || {
        cat "$work/err"
        return 1
    }
    got=$("$SHOAL" sql "SELECT count(*), sum(n)::BIGINT, sum(s)::BIGINT FROM '$work/target/*.parquet'" --format csv | tail -1)
    [ "$got" = "1000,$rows,$((rows * (rows - 1) / 2))" ] && clean && return
    echo "$got"
    return 1
}
check "a sink" sink

# A worker dies, and with it the only one that serves its node's files: they are made again.
# Where another is on the node it serves them. First attempts alone end their worker: no
# task is thought to do so by itself.
dies() { # NODES
    local code=0
    NODES=$1 SHOAL_FAULT=worker.task@worker:12:exit:.a0.w same "$work/joins.sql" "$work/init.sql" unordered "${hosted[@]}" \
        "${shuffles[@]}" "${@:2}" 2>"$work/said" || code=$?
    grep -q 'was lost' "$work/said" && [ $code = 0 ] && nothing_left && no_workers && return
    tail -5 "$work/said"
    return 1
}
check "workers die, each on its node" dies 3 --spool own
check "workers die beside others on their node" dies 1 --spool own
check "workers die that share the driver's folders" dies 3 --spool shared
# What the dead left on their node goes with the next run there.
check "and are swept" right --spool own

# Rows that a task rejects are fetched when it is done: what can't be had is made again.
for i in 1 2 3 4 5 6; do
    { seq 1 500 && echo bad && seq 501 1000; } >"$work/n$i.csv"
done
rejected() {
    rm -rf "$work/rejects"
    local got
    got=$(SHOAL_FAULT=$1 "$SHOAL" sql "${spools[@]}" "${hosted[@]}" --spool own "${shuffles[@]}" --split-rows 100 --rejects "$work/rejects" \
        "SELECT count(*), sum(k)::BIGINT FROM read_csv('$work/n*.csv', columns = {'k': 'INT'}, header = false, delim = ',', quote = '\"', escape = '\"')" \
        --format csv 2>"$work/err" | tail -1)
    [ "$got" = "6000,3003000" ] && [ "$(grep -c ',bad$' "$work"/rejects/*)" = 6 ] && nothing_left && no_workers && return
    echo "$got $(cat "$work/err")"
    return 1
}
check "rejected rows" rejected server.read@worker:100000:EIO
check "a server can't read rejected rows" rejected server.read@worker:1:EIO:.rejects
check "a worker dies before its rejected rows are fetched" rejected server.read@worker:1:exit:.w0.rejects

# The driver is killed: its workers see it and leave, what they kept is removed.
orphaned() {
    local i
    "$SHOAL" sql "${spools[@]}" "${hosted[@]}" --spool own "${shuffles[@]}" --init "$work/init.sql" \
        "SELECT count(*) FROM t a, t b WHERE a.k * b.k % 1000003 = 7" >/dev/null 2>&1 &
    local driver=$!
    for ((i = 0; i < 200; i++)); do
        [ "$(pgrep -f "^$program worker --connect" | wc -l)" = 3 ] && break
        sleep 0.05
    done
    [ "$i" -lt 200 ] || return 1
    kill -9 "$driver"
    wait "$driver" 2>/dev/null || true
    for ((i = 0; i < 300; i++)); do
        ! pgrep -f "^$program worker --connect" >/dev/null && own_is_empty >/dev/null && break
        sleep 0.05
    done
    no_workers && own_is_empty
}
check "the driver is killed" orphaned

# One that is killed before it has read all that its host program said: that ends too.
unread() {
    PYTHONPATH=$root/python timeout 60 python3 - <<'PYTHON'
import select
import socket
import subprocess
import sys

CODE = """
from shoal.host.lines import Lines
lines = Lines()
lines.send("opened")
orders = list(lines.read())
lines.send("gone")
assert orders == [{"op": "stop"}], orders
"""
mine, its = socket.socketpair()
host = subprocess.Popen([sys.executable, "-c", CODE], stdin=its, stdout=its)
its.close()
mine.sendall(b'{"op": "stop"}\n')
select.select([mine], [], [])
mine.close()
sys.exit(host.wait())
PYTHON
}
check "the driver is killed before it has read all" unread

# A job goes on, on another engine.
resumed() {
    local code=0
    SHOAL_FAULT=job.append@driver:20:kill "$SHOAL" sql "${spools[@]}" "${hosted[@]}" \
        "${shuffles[@]}" --init "$work/init.sql" -f "$work/joins.sql" --job "$work/job" --format csv >"$work/answer" 2>"$work/err" || code=$?
    [ $code = 137 ] || { echo "code $code"; return 1; }
    "$SHOAL" sql "${spools[@]}" --resume "$work/job" --workers 2 >"$work/answer" 2>"$work/err" || {
        cat "$work/err"
        return 1
    }
    "$SHOAL" sql --init "$work/init.sql" -f "$work/joins.sql" --format csv >"$work/expected"
    diff <(sort "$work/expected") <(sort "$work/answer") >"$work/diff" || { head -5 "$work/diff"; return 1; }
}
check "a job goes on without the cluster" resumed

# What goes wrong before the first worker is up.
says() { # CODE TEXT OPTIONS...
    local code=0 want=$1 text=$2
    shift 2
    "$SHOAL" sql "${spools[@]}" "${shuffles[@]}" --init "$work/init.sql" "SELECT count(DISTINCT k) FROM t" "$@" \
        >/dev/null 2>"$work/err" || code=$?
    [ $code = "$want" ] && grep -qF -- "$text" "$work/err" && return
    echo "code $code: $(cat "$work/err")"
    return 1
}
check "an engine that there is not" says 2 '--engine slurm://x: give local' --engine slurm://x --workers 2
check "no workers" says 2 '--workers N' --engine ray://auto
check "no python" says 3 'cannot start /nowhere/python -m shoal.host' --engine ray://auto --workers 2 --python /nowhere/python
# Blocked signals, as this program's are, would be inherited.
cat >"$work/signals" <<'PYTHON'
#!/usr/bin/env python3
import signal, sys
sys.stderr.write(f"blocked: {len(signal.pthread_sigmask(signal.SIG_BLOCK, []))}\n")
PYTHON
chmod +x "$work/signals"
check "signals reach the host program" says 4 'blocked: 0' --engine ray://x --workers 1 --python "$work/signals"
check "a port that is taken" says 3 'listen' "${hosted[@]}" --listen 127.0.0.1:1-1
check "an option of a cluster without one" says 2 '--ship goes with --engine' --workers 2 --ship
finish
