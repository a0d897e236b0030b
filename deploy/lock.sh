#!/usr/bin/env bash
# Resolves requirements/*.in: bash deploy/lock.sh [--keep]
# Without --keep all goes to its newest version; with it only what the .in files no longer allow moves.
# No file names a host: indexes are the user's own business.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../requirements"
upgrade=(--upgrade)
if [ "${1:-}" = --keep ]; then upgrade=(); fi
compile() {
  ../.tools/bin/uv pip compile -q --universal --generate-hashes --no-header --no-annotate \
    --no-emit-index-url --python-version 3.11 "$@"
}
compile "${upgrade[@]}" --override overrides.txt -o locked.txt dev.in
compile "${upgrade[@]}" -o uv.txt uv.in
compile "${upgrade[@]}" -o airflow.txt airflow.in
# Images get what was tested: parts of the one lock, in its versions.
for image in build worker generate pipeline; do
  compile --override overrides.txt --constraint locked.txt -o "$image.txt" "$image.in"
done
