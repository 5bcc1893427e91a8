#!/usr/bin/env bash
# What the linker sees.  symbols_test.sh LIBRARY HEADER LIST --target TARGET OBJECT... --target ...
#
# 1. The shared library exports exactly the functions that the header declares, which LIST repeats: a change is on purpose.
# 2. It needs no symbol newer than glibc 2.34.
# 3. Objects compiled for a SIMD target hold no weak symbol outside that target's namespace: the linker keeps one copy for the
#    whole library, and it could be the one with instructions that this CPU lacks.
set -euo pipefail
library=$1 header=$2 list=$3
read -ra headers <<<"$header" # one or more, in one word
shift 3
command -v nm >/dev/null || { echo "SKIPPED: no nm"; exit 77; }
[ "$(head -c 4 "$library" | tail -c 3)" = ELF ] || { echo "SKIPPED: not an ELF library"; exit 77; }
failed=0
complain() { echo "$*"; failed=1; }

# Names that begin with __ are a sanitizer's.
exported=$(nm -D --defined-only "$library" | awk '{print $NF}' | sed 's/@.*//' | grep -v ^__ | LC_ALL=C sort)
listed=$(grep -v '^#' "$list" | LC_ALL=C sort)
declared=$(grep -hE '^(KILTER_NODISCARD )?KILTER_API' "${headers[@]}" | sed -E 's/\(.*//; s/.*[ *](kilter_[a-z0-9_]+)$/\1/' | LC_ALL=C sort)
[ "$exported" = "$listed" ] || complain "exported (>) differs from $list (<): $(diff <(echo "$listed") <(echo "$exported") | grep '^[<>]')"
[ "$declared" = "$listed" ] || complain "$header (>) differs from $list (<): $(diff <(echo "$listed") <(echo "$declared") | grep '^[<>]')"

newest=$(nm -D --undefined-only "$library" | grep -oE '@GLIBC_[0-9.]+' | sed 's/@GLIBC_//' | sort -V | tail -1)
if [ -n "$newest" ] && [ "$(printf '%s\n2.34\n' "$newest" | sort -V | tail -1)" != 2.34 ]; then
  complain "needs glibc $newest: $(nm -D --undefined-only "$library" | grep "@GLIBC_$newest")"
fi

objects=0 target=''
while [ $# -gt 0 ]; do
  if [ "$1" = --target ]; then
    target=$2
    shift 2
    continue
  fi
  object=$1 objects=$((objects + 1))
  shift
  # W, V: weak or comdat; u: unique.  The compiler's own reference to the personality routine is data about exceptions.
  weak=$(nm -C --defined-only "$object" | grep -E '^[0-9a-f]* [WVu] ' | grep -vF "kilter::cpu_${target}::" | grep -v ' DW\.ref\.' || true)
  [ -z "$weak" ] || complain "$object: weak outside kilter::cpu_$target: $weak"
  nm -C --defined-only "$object" | grep -F "kilter::cpu_${target}::" >/dev/null || complain "$object: nothing of kilter::cpu_$target"
done
[ "$objects" -gt 0 ] || complain "no objects given"

echo "$(wc -l <<<"$exported") symbols exported, glibc ${newest:-none}, $objects objects"
exit "$failed"
