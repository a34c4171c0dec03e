#!/usr/bin/env bash
# Compares `expand` with `cp` of the same output, and `verify --mode structure` with `cmp`, on a synthetic checkpoint.
# Prints medians of paired ratios; absolute times say little on a shared machine. Never part of `npm test`.
#
#   test/bench/expand.sh [0.6|2.6|9] [PAIRS] [MODE...]
#
# A MODE is options of `expand` in one word: "--no-hash", "--no-hash --direct", "" (hashing). BENCH_DIR holds the files (about 3.5 times
# the size; default: a new directory under TMPDIR, removed at the end; sources that are there are used again). Needs GNU time and coreutils.
set -euo pipefail
cd "$(dirname "$0")/../.."

size=${1:-2.6}
pairs=${2:-5}
shift $(($# < 2 ? $# : 2))
modes=("$@")
[ ${#modes[@]} -gt 0 ] || modes=("--no-hash" "" "--no-hash --direct" "--direct")
case $size in 0.6) every=2 ;; *) every=4 ;; esac

if [ -n "${BENCH_DIR:-}" ]; then
  dir=$BENCH_DIR
  mkdir -p "$dir"
else
  dir=$(mktemp -d)
  trap 'rm -rf "$dir"' EXIT
fi
source=$dir/source-$size
reference=$dir/reference-$size
out=$dir/out
results=$dir/results-$size.tsv
: >"$results"

expand() { node bin/expand-checkpoint.js expand "$source" "$1" --every "$every" --verify none --no-resume --no-progress "${@:2}"; }

# measure FIELDS... -- COMMAND...: appends FIELDS, wall, CPU, MB and wall with the sync that makes the bytes last.
measure() {
  local fields=()
  while [ "$1" != -- ]; do fields+=("$1"); shift; done
  shift
  local begun ended
  begun=$(date +%s.%N)
  /usr/bin/time -o "$dir/time" -f '%e %U %S %M' "$@" >/dev/null
  sync -f "$dir"
  ended=$(date +%s.%N)
  awk -v fields="$(IFS=$'\t'; echo "${fields[*]}")" -v total="$(echo "$ended - $begun" | bc)" \
    '{ printf "%s\t%s\t%.2f\t%.0f\t%.2f\n", fields, $1, $2 + $3, $4 / 1024, total }' "$dir/time" >>"$results"
}

fresh() {
  rm -rf "$out"
  sync -f "$dir"
  sleep 0.2
}

one_cp() {
  fresh
  mkdir "$out"
  measure "$1" "$2" cp -- cp "$reference"/*.safetensors "$out"/
}

one_expand() {
  fresh
  # shellcheck disable=SC2086
  measure "$1" "$2" expand -- node bin/expand-checkpoint.js expand "$source" "$out" --every "$every" --verify none --no-resume --no-progress $2
}

# median COLUMN OF EXPAND OVER CP, per mode; with both medians and the spread of cp.
report() {
  awk -F'\t' -v mode="$1" '
    function median(list, n,   i, j, swap) {
      for (i = 1; i <= n; i++) for (j = i + 1; j <= n; j++) if (list[j] < list[i]) { swap = list[i]; list[i] = list[j]; list[j] = swap }
      return n % 2 ? list[(n + 1) / 2] : (list[n / 2] + list[n / 2 + 1]) / 2
    }
    $2 == mode && ($3 == "cp" || $3 == "cmp") { wall[$1] = $4; cpu[$1] = $5; durable[$1] = $7 }
    $2 == mode && !($3 == "cp" || $3 == "cmp") { w[$1] = $4; c[$1] = $5; d[$1] = $7; if ($6 > rss) rss = $6; who = $3 }
    END {
      for (i in wall) {
        n++; rc[n] = c[i] / cpu[i]; rw[n] = w[i] / wall[i]; rd[n] = d[i] / durable[i]; base[n] = cpu[i]; own[n] = c[i]
        if (!lo || cpu[i] < lo) lo = cpu[i]
        if (cpu[i] > hi) hi = cpu[i]
      }
      printf "%-26s n=%d  CPU %.2fx (%.2f s against %.2f s)  wall %.2fx  durable wall %.2fx  peak %d MB  yardstick max/min %.1f%s\n",
        (mode == "" ? "(default: hashing)" : mode), n, median(rc, n), median(own, n), median(base, n), median(rw, n), median(rd, n), rss, hi / lo,
        (hi / lo > 2 ? "  TOO NOISY, run again" : "")
    }' "$results"
}

[ -d dist ] || npm run --silent build
[ -d "$source" ] || npx tsx test/bench/synthesize.ts "$size" "$source"
rm -rf "$reference" "$out"
expand "$reference" >/dev/null

for mode in "${modes[@]}"; do
  for ((pair = 1; pair <= pairs; pair++)); do
    cat "$source"/*.safetensors "$reference"/*.safetensors >/dev/null
    if ((pair % 2)); then one_cp $pair "$mode"; one_expand $pair "$mode"; else one_expand $pair "$mode"; one_cp $pair "$mode"; fi
  done
done
fresh
cp -r "$reference" "$out"
for ((pair = 1; pair <= pairs; pair++)); do
  cat "$source"/*.safetensors "$reference"/*.safetensors "$out"/*.safetensors >/dev/null
  measure $pair verify cmp -- bash -c 'for file in "$1"/*.safetensors; do cmp "$file" "$2/${file##*/}"; done' cmp "$out" "$reference"
  measure $pair verify verify -- node bin/expand-checkpoint.js verify "$source" "$out" --mode structure --no-progress
done

echo "expand $size GB against cp of the same files (holes kept by both); verify against cmp; medians of $pairs pairs, source in the page cache; $(nproc) cores, node $(node --version), load $(cut -d' ' -f1-3 /proc/loadavg)"
for mode in "${modes[@]}"; do report "$mode"; done
report verify
