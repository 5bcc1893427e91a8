#!/usr/bin/env bash
# kilter.h compiles without a warning as C99 and later and as C++98 and later, kilter.hpp as C++20: by the compilers named in
# COMPILER and whatever else is here.  Syntax only.   headers_test.sh SOURCE COMPILER...
set -euo pipefail
source=$1
shift
strict=(-Wall -Wextra -pedantic -Werror -I "$source/include" -fsyntax-only)
tried=0 failed=0

# Whether that compiler knows that standard: older ones lack the newest.
knows() { "$1" -x "$3" -std="$2" -fsyntax-only /dev/null 2>/dev/null; }

try() { # COMPILER LANGUAGE FILE STANDARD...
  local compiler=$1 language=$2 file=$3 standard
  shift 3
  for standard in "$@"; do
    knows "$compiler" "$standard" "$language" || continue
    tried=$((tried + 1))
    "$compiler" -x "$language" -std="$standard" "${strict[@]}" "$source/tests/headers/$file" && continue
    echo "FAILED: $compiler -std=$standard $file"
    failed=$((failed + 1))
  done
}

for compiler in $(printf '%s\n' "$@" gcc g++ clang{,++}{,-14,-19} | sort -u); do
  command -v "$compiler" >/dev/null || continue
  case $compiler in
    *++*)
      try "$compiler" c++ kilter_h.c c++98 c++11 c++14 c++17 c++20 c++2b
      try "$compiler" c++ kilter_hpp.cc c++20 c++2b
      ;;
    *) try "$compiler" c kilter_h.c c99 c11 c17 c2x ;;
  esac
done
echo "$tried compilations, $failed failed"
[ "$failed" = 0 ] && [ "$tried" -gt 0 ]
