#!/usr/bin/env bash
# -o PATH: a file is there when all went well, and as before if not; through a link, it is
# the link's own file. A pipe or a device is written to, and stays what it is.
# shellcheck source=test/support/lib.sh
source "$(dirname "$0")/../support/lib.sh"
query="SELECT i FROM range(3) r(i)"
rows=$'i\n0\n1\n2'
out=$work/written
mkdir "$out"

writes() {
    "$SHOAL" sql "$query" --format csv -o "$1"
}
holds() {
    [ "$(cat "$1")" = "$rows" ] && ! compgen -G "$out/*.part-*"
}
a_file() {
    echo "what was there" >"$out/old"
    writes "$out/new" && holds "$out/new" && writes "$out/old" && holds "$out/old"
}
check "a file, new or not" a_file
as_before() {
    echo "what was there" >"$out/kept"
    fails 1 "no such row" sql "SELECT 1; SELECT error('no such row')" -o "$out/kept" || return 1
    [ "$(cat "$out/kept")" = "what was there" ] && ! compgen -G "$out/*.part-*"
}
check "what failed" as_before
a_link() {
    mkdir -p "$out/elsewhere" && echo "what was there" >"$out/elsewhere/file"
    ln -s elsewhere/file "$out/link"
    writes "$out/link" && [ -L "$out/link" ] && holds "$out/elsewhere/file"
}
check "a link to a file" a_link
a_pipe() {
    mkfifo "$out/pipe"
    writes "$out/pipe" &
    local writer=$!
    [ "$(timeout 20 cat "$out/pipe")" = "$rows" ] && wait "$writer" && [ -p "$out/pipe" ]
}
check "a pipe" a_pipe
a_device() {
    ln -s /dev/null "$out/null"
    writes "$out/null" && [ -L "$out/null" ] && [ -c "$out/null" ]
}
check "a device" a_device
ln -s /dev/full "$out/full"
check "a device that is full" fails 3 "cannot write $out/full: No space left on device" \
    sql "$query" -o "$out/full"
check "a folder" fails 3 "cannot write $out: Is a directory" sql "$query" -o "$out"
check "a folder that isn't there" fails 3 "cannot write $out/none/file: No such file or directory" \
    sql "$query" -o "$out/none/file"
finish
