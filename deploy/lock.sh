#!/usr/bin/env bash
# Resolves requirements/*.in anew. Neither file names a host: indexes are the user's own business.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
compile() { .tools/bin/uv pip compile -q --universal --generate-hashes --no-header --no-annotate --no-emit-index-url --python-version 3.11 "$@"; }
compile --upgrade --override requirements/overrides.txt -o requirements/locked.txt requirements/dev.in
compile --upgrade -o requirements/uv.txt requirements/uv.in
compile --upgrade -o requirements/airflow.txt requirements/airflow.in
