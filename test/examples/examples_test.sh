#!/usr/bin/env bash
# The pipelines of examples/ give the same, right tables embedded, over worker processes and
# over workers that a host starts. With real clusters: examples/check.py URL (./dev cluster-test).
# shellcheck source=test/support/lib.sh
source "$(dirname "$0")/../support/lib.sh"
hosted="ray://local --python $root/test/support/local_host.py --workers 2"
engines=("local --workers 2 --temp-dir $spool" "$hosted --spool own --temp-dir $spool")
if under_asan; then engines=("$hosted --temp-dir $spool"); fi
check "on each engine" python3 "$root/examples/check.py" --shoal "$SHOAL" --rows 3000 "${engines[@]}"
check "nothing is left" nothing_left

if under_asan; then
    finish
    exit
fi

# The check itself: a table that lacks a row, or a bad line that is let through, is found.
cp -r "$root/examples" "$work/broken"
sed -i 's/INTERVAL 30 MINUTES/INTERVAL 29 MINUTES/' "$work/broken/etl_dask/etl.sql"
sed -i "s/WHEN ts < received - INTERVAL 1 DAY THEN 'late'//" "$work/broken/sql_spark/sql/20_clean.sql"
finds() {
    ! python3 "$work/broken/check.py" --shoal "$SHOAL" --rows 3000 "local" >"$work/found" &&
        grep -q "WRONG: etl_dask, embedded, once: events" "$work/found" &&
        grep -q "WRONG: sql_spark on local: quarantined events" "$work/found"
}
check "what is wrong is found" finds
finish
