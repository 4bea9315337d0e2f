#!/usr/bin/env bash
# Workers on two nodes with networks of their own (namespaces that this test makes; it must be
# root): what crosses the network is TLS, and when a node is cut off while a query runs, the
# query ends right and says so. Traffic is on the test's own addresses, 10.231.77.0/24.
# shellcheck source=test/support/lib.sh
source "$(dirname "$0")/../support/lib.sh"
prefix=shoal$$
bridge=${prefix}b
export SHOAL_SILENT_SECONDS=4
hosted_init 400000

remove() {
    pkill -9 -f "^$program worker --connect" || true
    for node in 1 2; do ip netns del "$prefix$node" 2>/dev/null || true; done
    ip link del "$bridge" 2>/dev/null || true
    rm -rf "$work" "$memory"
}
trap remove EXIT
if ! ip link add "$bridge" type bridge 2>"$work/err"; then
    echo "skipped: $(cat "$work/err")"
    exit 77
fi
ip addr add 10.231.77.1/24 dev "$bridge"
ip link set "$bridge" up
for node in 1 2; do
    ip netns add "$prefix$node"
    ip link add "${prefix}v$node" type veth peer name eth0 netns "$prefix$node"
    ip link set "${prefix}v$node" master "$bridge" up
    ip -n "$prefix$node" addr add "10.231.77.$((node + 1))/24" dev eth0
    ip -n "$prefix$node" link set eth0 up
    ip -n "$prefix$node" link set lo up
done
export NETNS="${prefix}1 ${prefix}2"

hosted=(--engine ray://local --python "$root/test/support/local_host.py" --listen 10.231.77.1 --spool own
    --broadcast-rows -1 --cluster-rows -1 --partitions 6 --split-rows 20000)

right() { same "$work/joins.sql" "$work/init.sql" unordered "${hosted[@]}" "$@" && nothing_left; }
check "two nodes with networks of their own" right --workers 4
# Nothing of the rows is seen by who listens on the wire, and TLS is.
watched() {
    python3 -c '
import signal, socket, sys
wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
wire.bind((sys.argv[1], 0))
out = open(sys.argv[2], "wb", buffering=0)
print("ready", flush=True)
while True:
    out.write(wire.recv(65536))' "$bridge" "$work/wire" >"$work/ready" &
    local watcher=$! code=0
    until grep -q ready "$work/ready"; do sleep 0.05; done
    right --workers 2 || code=1
    kill "$watcher"
    wait "$watcher" 2>/dev/null || true
    [ $code = 0 ] && [ "$(stat -c %s "$work/wire")" -gt 100000 ] && ! grep -qa 'shoal_input\|CHNK\|parquet' "$work/wire"
}
check "what crosses the network says nothing" watched

# The second node is cut off in the middle: no packet comes or goes any more.
cut_off() {
    local code=0
    ip link set "${prefix}v2" up
    (
        for ((i = 0; i < 400; i++)); do
            [ -n "$(find "$TMPDIR" /dev/shm/shoal-*/q1 -name 's1.t*' 2>/dev/null | head -1)" ] && break
            sleep 0.02
        done
        ip link set "${prefix}v2" down
    ) &
    same "$work/joins.sql" "$work/init.sql" unordered "${hosted[@]}" --workers 2 2>"$work/said" || code=$?
    wait
    grep -q 'was lost: it was silent for 4 s' "$work/said" && [ $code = 0 ] && nothing_left && return
    echo "code $code"
    tail -5 "$work/said"
    return 1
}
check "a node is cut off" cut_off
left() {
    local i
    for ((i = 0; i < 350; i++)); do # a worker behind a cut finds out by what is not answered
        pgrep -f "^$program worker --connect" >/dev/null || return 0
        sleep 0.1
    done
    echo "workers are left"
    return 1
}
check "no worker stays behind it" left
finish
