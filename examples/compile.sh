#!/usr/bin/env bash
# The README's two samples, compiled and run as a reader does.  What lies between the markers is shown in README.md.
set -e
root=$(cd "$(dirname "$0")/.." && pwd)
build=$(cd "${KILTER_BUILD:-$root/build}" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
ln -s "$root/examples" "$root/include" .
ln -s "$build" build
# example-begin
c++ -std=c++20 examples/layer_norm.cc -Iinclude -Lbuild -lkilter -Wl,-rpath,"$PWD/build" -o build/layer_norm
cc examples/rms_norm.c -Iinclude -Lbuild -lkilter -Wl,-rpath,"$PWD/build" -o build/rms_norm
build/layer_norm
build/rms_norm
# example-end
