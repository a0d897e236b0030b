#!/usr/bin/env bash
# Makes Airflow's environment: bash deploy/set_up_airflow.sh VENV
# It is a separate one, because Airflow and TFX need different versions of the same packages.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
venv=${1:?usage: bash deploy/set_up_airflow.sh VENV}
echo "set-up: Airflow in $venv (200 MB)"
.tools/bin/uv venv -q --clear --python .venv/bin/python "$venv"
VIRTUAL_ENV=$venv .tools/bin/uv pip sync -q --require-hashes --compile-bytecode \
  requirements/airflow.txt
