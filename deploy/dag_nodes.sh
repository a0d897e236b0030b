#!/usr/bin/env bash
# Writes the nodes of both pipelines to where the DAGs read them: their list is generated, not kept.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
beside=$(mktemp)
trap 'rm -f "$beside"' EXIT
nodes() { .venv/bin/nocturne run nodes "$1" --json; }
training=$(nodes training)
generation=$(nodes generation)
printf '{"training": %s, "generation": %s}\n' "$training" "$generation" |
  .venv/bin/python -m json.tool --indent 2 >"$beside"
cp "$beside" pipeline/dags/nodes.json
