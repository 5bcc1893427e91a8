#!/usr/bin/env bash
# The command line on a sample of a real model.  What lies between the markers is shown in docs/command_line.md.
set -e
root=$(cd "$(dirname "$0")/.." && pwd)
PATH="${KILTER_BUILD:-$root/build}/bin:$PATH"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
ln -s "$root/tests" tests
# example-begin
kilter run layer_norm --x tests/data/x.npy --weight tests/data/weight.npy --bias tests/data/bias.npy --eps 1e-12 --y y.npy
kilter run rms_norm --x tests/data/x_bf16.npy --x-dtype bf16 --y y_bf16.npy
kilter check layer_norm --rows 1000 --n 768 --x-dtype bf16 --fill offset --seed 3
kilter explain layer_norm --x-dtype fp16
# example-end
