#!/usr/bin/env bash
# Makes the seeds that come from shoal's own output, in test/fuzz/seeds. Others there, named
# found-*, once ended a fuzzer, and stay.
set -euo pipefail
cd "$(dirname "$0")/../.."
seeds=test/fuzz/seeds
shoal=build/shoal
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for name in frame worker task block server footer tree sql faults cut journal delta job; do
    mkdir -p "$seeds/$name"
    find "$seeds/$name" -type f ! -name 'found-*' -delete
done
cmake --build build --target write_seeds >/dev/null
build/write_seeds "$seeds"

# Footers, without their length and magic.
"$shoal" sql "COPY (SELECT i::INTEGER AS a, i AS b, DATE '2026-01-01' + i::INTEGER AS d, i::VARCHAR AS s,
    {x: i} AS n, CASE WHEN i > 5 THEN i END AS u FROM range(5000) r(i)) TO '$work/rows.parquet' (ROW_GROUP_SIZE 2048);
    COPY (SELECT 1 AS a) TO '$work/one.parquet'" >/dev/null
python3 - "$work" "$seeds/footer" <<'PYTHON'
import pathlib
import sys

for name in ("rows", "one"):
    data = pathlib.Path(sys.argv[1], name + ".parquet").read_bytes()
    size = int.from_bytes(data[-8:-4], "little")
    pathlib.Path(sys.argv[2], name).write_bytes(data[-8 - size : -8])
PYTHON

# Syntax trees.
tree() {
    "$shoal" sql --format csv "SELECT json_serialize_sql('$2') AS j" |
        python3 -c 'import csv, sys; print(list(csv.reader(sys.stdin))[1][0])' >"$seeds/tree/$1"
}
tree join 'SELECT t.a, sum(u.b) AS s FROM t JOIN u ON t.k = u.k WHERE t.a > 1 AND u.b < 2 GROUP BY t.a'
tree window 'SELECT rank() OVER (PARTITION BY t.a ORDER BY t.b) FROM (SELECT * FROM t) AS t'
tree set 'WITH c AS (SELECT random() AS r) SELECT r FROM c UNION ALL SELECT 1 ORDER BY 1 LIMIT 3'

# SQL texts.
printf '%s' "COPY (SELECT *, ts::DATE AS day FROM read_csv('logs/*.csv')) TO 'table' (FORMAT parquet, PARTITION_BY (day, \"a\"\"b\"), FILE_SIZE_BYTES '128MB', OVERWRITE, REJECTS 'rejects', REJECTS_LIMIT 9)" >"$seeds/sql/copy"
printf '%s' "COPY t(a, b) TO 't' WITH (FORMAT delta, JOB_ID 'it''s', APPEND true, SORT_BY (a DESC), RETURN_STATS)" >"$seeds/sql/delta"
printf '%s' "SELECT /*+ BROADCAST(a, \"my t\"), REPARTITION(8, k) MERGE(b) COALESCE(2) */ E'\\'' , \$x\$;\$x\$ -- end
FROM t; /* /* nested */ ; */ WITH c AS (SELECT 1) INSERT INTO t FROM c; " >"$seeds/sql/hints"
printf '%s' 'STRUCT(a INTEGER, "b c" DECIMAL(10,2)[], m MAP(VARCHAR, TIMESTAMP WITH TIME ZONE[3]))[]' >"$seeds/sql/type"
printf '%s' '1.5 GiB' >"$seeds/sql/amount"
printf '%s\n' 'a BIGINT' 's STRUCT(x INTEGER, "y z" VARCHAR[])[]' 'm MAP(VARCHAR, DOUBLE[3])' \
    'j JSON' 'd DECIMAL(10,2)' >"$seeds/faults/columns"

# CSV files, behind four bytes that say what they are like.
printf '%s' ',"' >"$work/like"
{
    cat "$work/like"
    printf '\002\377'
    printf '%s\n' 'a,b,c' '1,"x,y",2' '2,"two' 'lines",3' '3,"it""s",4' ',,' '5,"",6'
} >"$seeds/cut/quoted"
{
    cat "$work/like"
    printf '\001\002'
    printf '%s\n' '1,2' '"a","b"' '3,4'
} >"$seeds/cut/short"

# Journals of each kind of change; small inodes stand for files of the fuzzer's.
printf '%s' '{"target":"target","prefix":"new-","entries":[{"path":"k=1/new-1","folder":false,"inode":4},{"path":"k=2/new-1","folder":false,"inode":5}]}' >"$seeds/journal/files"
printf '%s' '{"target":"target","prefix":"new-","entries":[{"path":"k=1","folder":true,"inode":11},{"path":"k=2","folder":true,"inode":12}]}' >"$seeds/journal/folders"
printf '%s' '{"target":"target","prefix":null,"entries":[{"path":"","folder":true,"inode":10}]}' >"$seeds/journal/whole"
printf '%s' '{"target":"../target","prefix":"","entries":[{"path":"../secret","folder":false,"inode":0},{"path":"../other/k=1/a","folder":false,"inode":2}]}' >"$seeds/journal/outside"
printf '%s' '{"target":"other","entries":[{"path":"../../other/empty","folder":true,"inode":8}]}' >"$seeds/journal/beside"

# Logs of a job, as the fuzzer's plan has it: one that lived, one that died, and one that
# other folders are named in.
"$shoal" sql "COPY (SELECT i AS k, i % 3 AS g FROM range(4096) r(i)) TO '$work/t.parquet' (ROW_GROUP_SIZE 2048)" >/dev/null
run_job() {
    "$shoal" sql --job "$work/job" --replace --workers 2 --partitions 4 --split-rows 2048 --cluster-rows -1 --skew always --quiet \
        "COPY (SELECT g, count(*) AS n FROM '$work/t.parquet' GROUP BY g) TO '$work/out' (FORMAT parquet, PER_THREAD_OUTPUT, OVERWRITE)"
}
job_records() { # SED SCRIPT: a record a line
    python3 - "$work/job/job.log" "$work" <<'PYTHON' | sed -E "$1"
import struct
import sys

data, at = open(sys.argv[1], "rb").read(), 0
while at + 16 <= len(data):
    size = struct.unpack_from("<I", data, at)[0]
    at += 16 + size
    if at <= len(data):
        print(data[at - size : at].decode())
PYTHON
}
names="s#$work/job#@JOB#g; s#$work/[.]shoal-[^/\"\\]*#@HOME/.shoal-abcdef#g; s#$work#@HOME#g
    s#(\"(shoal|duckdb)\"):\"[^\"]*\"#\\1:\"@V\"#g; s#\"shape\":\"[^\"]*\"#\"shape\":\"@SHAPE\"#
    s#[.]w[01][.]r#.w0.r#g; s#(AS root.c0, c1.\",null,null,null)#\\1,null,null#; s#\"cwd\":\"[^\"]*\"#\"cwd\":\"@HOME\"#; s#\"run\":\"[^\"]*\"#\"run\":\"r1\"#"
run_job >/dev/null
job_records "$names" >"$seeds/job/done"
SHOAL_FAULT=job.append@driver:14:kill run_job >/dev/null 2>&1 || true
job_records "$names" >"$seeds/job/died"
head -c 900 "$work/job/job.log" >"$seeds/job/torn"
grep -v '"r":"\(over\|end\)"' "$seeds/job/done" >"$seeds/job/published"
grep -v '"r":"publish"' "$seeds/job/published" >"$seeds/job/staged"
sed -E 's#@HOME/[.]shoal-abcdef#@HOME/private#g; s#@JOB/blocks[^\\]*#@HOME/private/key#g' "$seeds/job/died" >"$seeds/job/outside"
sed -E 's#@HOME/[.]shoal-abcdef#@HOME/.shoal-secret#g; s#"x":false#"x":true#' "$seeds/job/died" >"$seeds/job/again"
sed -E 's#("l":).*(,"n")#\1[[0,0,0,false,0,2],[0,0,0,false,1,2],[1,3,4294967295,false,0,0]]\2#' "$seeds/job/staged" >"$seeds/job/slices"
{
    cat "$seeds/job/died"
    echo '{"r":"broadcast","over":0,"reader":1,"first":false,"n":0,"k":1}'
} >"$seeds/job/broadcast"

# Delta logs.
"$shoal" sql "COPY (SELECT i, i % 2 AS k, i::VARCHAR AS s FROM range(4) r(i)) TO '$work/table' (FORMAT delta, PARTITION_BY (k), JOB_ID 'j');
    COPY (SELECT 9::BIGINT AS i, 1::BIGINT AS k, 'x' AS s) TO '$work/table' (FORMAT delta, OVERWRITE)" >/dev/null
log() {
    local file
    for file in "$@"; do printf '== %s\n%s\n' "$(basename "$file")" "$(cat "$file")"; done
}
log "$work"/table/_delta_log/*.json | sed -E 's/(r[0-9a-f]{12})[0-9a-f]{16}/\1/g' >"$seeds/delta/commits"
first=$work/table/_delta_log/00000000000000000000.json
{
    printf '== 00000000000000000003.checkpoint.parquet\n'
    cat "$first"
    printf '\n== 00000000000000000004.json\n{"remove":{"path":"k=0/a.parquet"}}\n'
} >"$seeds/delta/checkpoint"
{
    printf '== 00000000000000000002.checkpoint.0123456789abcdef0123456789abcdef0123.json\n'
    cat "$first"
    printf '\n{"sidecar":{"path":"side.json"}}\n{"sidecar":{"path":"side.parquet"}}\n== side.parquet\n{"add":{"path":"a","partitionValues":{"k":"1"}}}\n'
} >"$seeds/delta/sidecars"
cat >"$seeds/delta/types" <<'LOG'
== 00000000000000000000.json
{"protocol":{"minReaderVersion":3,"minWriterVersion":7,"readerFeatures":["timestampNtz","deletionVectors"]}}
{"metaData":{"id":"1","format":{"provider":"parquet"},"schemaString":"{\"type\":\"struct\",\"fields\":[{\"name\":\"a\",\"type\":{\"type\":\"array\",\"elementType\":{\"type\":\"map\",\"keyType\":\"string\",\"valueType\":\"decimal(10,2)\",\"valueContainsNull\":true}}},{\"name\":\"s\",\"type\":{\"type\":\"struct\",\"fields\":[{\"name\":\"x y\",\"type\":\"timestamp_ntz\"}]}}]}","partitionColumns":[],"configuration":{"delta.columnMapping.mode":"none"}}}
{"add":{"path":"a%20b.parquet","partitionValues":{}}}
{"add":{"path":"file:///abs/c.parquet","deletionVector":{"storageType":"u"}}}
LOG
du -sh --apparent-size "$seeds"
