#!/usr/bin/env bash
# Writes the nodes of both pipelines to pipeline/dags/nodes.json, which the DAGs read.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
temporary=$(mktemp)
trap 'rm -f "$temporary"' EXIT
nodes() { .venv/bin/nocturne run nodes "$1" --json; }
training=$(nodes training)
generation=$(nodes generation)
printf '{"training": %s, "generation": %s}\n' "$training" "$generation" |
  .venv/bin/python -m json.tool --indent 2 >"$temporary"
cp "$temporary" pipeline/dags/nodes.json
