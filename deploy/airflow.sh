#!/usr/bin/env bash
# Runs Airflow for this machine only: bash deploy/airflow.sh [ARGUMENTS OF AIRFLOW]
# Without arguments it serves the web page and runs the DAGs until it is interrupted. With arguments
# it runs the `airflow` command, for example `bash deploy/airflow.sh dags list --local`.
#
# Airflow's home, database and logs are in .airflow/, and so are the DAGs' results unless variables
# NOCTURNE_... (pipeline/dags/nocturne_tasks.py) name other folders.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
project=$PWD
bin=$project/.airflow-venv/bin
[ -x "$bin/airflow" ] || { echo "Airflow is not installed in .airflow-venv: run make airflow-venv" >&2; exit 1; }

export AIRFLOW_HOME=${AIRFLOW_HOME:-$project/.airflow}
export AIRFLOW__CORE__DAGS_FOLDER=$project/pipeline/dags
export AIRFLOW__CORE__LOAD_EXAMPLES=False
export AIRFLOW__CORE__PARALLELISM=${AIRFLOW__CORE__PARALLELISM:-2}
export AIRFLOW__USAGE_DATA_COLLECTION__ENABLED=False
export AIRFLOW__API__HOST=127.0.0.1
export AIRFLOW__API__PORT=${AIRFLOW__API__PORT:-8080}
export AIRFLOW__API__WORKERS=1
export AIRFLOW__API__BASE_URL=http://127.0.0.1:$AIRFLOW__API__PORT
export AIRFLOW__CORE__EXECUTION_API_SERVER_URL=http://127.0.0.1:$AIRFLOW__API__PORT/execution/
export NOCTURNE_COMMAND=${NOCTURNE_COMMAND:-$project/.venv/bin/nocturne}
export NOCTURNE_ROOT=${NOCTURNE_ROOT:-$AIRFLOW_HOME/nocturne/root}
export NOCTURNE_INPUT=${NOCTURNE_INPUT:-$AIRFLOW_HOME/nocturne/music}
export NOCTURNE_OUTPUT=${NOCTURNE_OUTPUT:-$AIRFLOW_HOME/nocturne/clips}

if [ $# -gt 0 ]; then exec "$bin/airflow" "$@"; fi

mkdir -p "$AIRFLOW_HOME"
log=$AIRFLOW_HOME/services.log
"$bin/airflow" db migrate >>"$log" 2>&1
"$bin/airflow" pools set "${NOCTURNE_POOL:-nocturne_accelerator}" 1 "One accelerator" >>"$log" 2>&1

# Not `airflow standalone`, because that serves logs on all network interfaces. The page reads them
# from disk.
services=()
trap 'kill "${services[@]}" 2>/dev/null; wait' EXIT
for service in "api-server" "dag-processor" "scheduler --skip-serve-logs"; do
  # shellcheck disable=SC2086
  "$bin/airflow" $service >>"$log" 2>&1 &
  services+=($!)
done
passwords=$AIRFLOW_HOME/simple_auth_manager_passwords.json.generated
for _ in $(seq 120); do
  if [ -s "$passwords" ] && (exec 3<>"/dev/tcp/127.0.0.1/$AIRFLOW__API__PORT") 2>/dev/null; then
    echo "Airflow: $AIRFLOW__API__BASE_URL   users and passwords: $(cat "$passwords")"
    break
  fi
  sleep 1
done
echo "Music: $NOCTURNE_INPUT. Clips: $NOCTURNE_OUTPUT. Logs: $log. Press Ctrl-C to stop."
wait -n
echo "a service of Airflow has stopped; the reason is in $log" >&2
exit 1
