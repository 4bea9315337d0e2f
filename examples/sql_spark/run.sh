#!/usr/bin/env bash
# run.sh ENGINE LOGS OUT [OPTION...]: sql/*.sql in order, on the logs in LOGS, into tables in OUT.
# ENGINE: local, spark://HOST:PORT, spark://yarn and the like, dask://..., ray://...
# OPTIONs are those of `shoal sql`; `run.sh explain ENGINE ...` shows the plans of what has run.
# SHOAL: the program, if it is not on the PATH.
set -euo pipefail
command=sql
if [ "${1:-}" = explain ]; then command=explain; shift; fi
[ $# -ge 3 ] || { sed -n '2,5s/^# //p' "$0" >&2; exit 2; }
here=$(cd "$(dirname "$0")" && pwd)
engine=$1 logs=$(realpath "$2") out=$(realpath -m "$3")
shift 3
shoal=${SHOAL:-$(command -v shoal || echo "$here/../../build/shoal")}
mkdir -p "$out"
text=$(cat "$here"/sql/*.sql)
text=${text//\$\{LOGS\}/"${logs//\'/\'\'}"}
text=${text//\$\{OUT\}/"${out//\'/\'\'}"}
exec "$shoal" "$command" --engine "$engine" "$@" - <<<"$text"
