#!/bin/sh
# What one GPU scores with each lever, in at most eight minutes; --dry-run: the same steps without a GPU.
set -eu
cd "$(dirname "$0")/.."
exec python benchmarks/gpu.py "$@"
