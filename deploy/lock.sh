#!/usr/bin/env bash
# Resolves pyproject.toml and requirements/*.in to requirements/*.txt: bash deploy/lock.sh [--keep]
# By default every package moves to its newest version. With --keep only those packages move whose
# pinned version is no longer allowed. No lock names an index: that is the user's choice.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../requirements"
upgrade=(--upgrade)
if [ "${1:-}" = --keep ]; then upgrade=(); fi

compile() {
  ../.tools/bin/uv pip compile -q --universal --generate-hashes --no-header --no-annotate \
    --no-emit-index-url --emit-build-options --python-version 3.11 "$@"
}
# Each lock says `--only-binary :all:`, so that no machine needs a compiler. The two exceptions are
# pure Python, and PyPI has no wheels of them (a test checks both).
wheels=(--only-binary :all:)
sources=(--no-binary google-apitools --no-binary rouge-score)
project=../pyproject.toml
compile "${upgrade[@]}" "${wheels[@]}" -o uv.txt uv.in
compile "${upgrade[@]}" "${wheels[@]}" -o airflow.txt airflow.in
compile "${upgrade[@]}" "${wheels[@]}" "${sources[@]}" --override overrides.txt \
  -o locked.txt --extra dev "$project"

# The images' locks are parts of locked.txt, in its versions, so that images hold what was tested.
# They take over what it says of wheels and sources.
part() { compile --override overrides.txt --constraint locked.txt "$@"; }
part -o build.txt build.in
part -o worker.txt --extra gcp "$project" image.in
part -o generate.txt --extra gcp --extra generate "$project" image.in
part -o pipeline.txt --extra demo "$project" image.in
part -o audio-formats.txt --no-deps - <<<av
