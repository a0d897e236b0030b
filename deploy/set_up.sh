#!/usr/bin/env bash
# Makes the environment: bash deploy/set_up.sh VENV
# Needs only a Python 3.11 or 3.12 on x86-64 Linux: pip fetches uv into .tools/, and the locks
# forbid builds from source, so no compiler is needed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
venv=${1:?usage: bash deploy/set_up.sh VENV}

fail() { printf 'set-up: %s\n' "$1" >&2; exit 1; }
supported() { "$1" -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))' 2>/dev/null; }

[ "$(uname -sm)" = "Linux x86_64" ] ||
  fail "TFX is published only for x86-64 Linux; this is $(uname -sm). Use a Linux machine or container."

python=""
for candidate in ${PYTHON:-} python3.12 python3.11 python3; do
  if supported "$candidate"; then python=$candidate; break; fi
done
[ -n "$python" ] || fail "wanted a Python 3.11 or 3.12, found none on PATH. Install one, or name it: make setup PYTHON=/path/to/python3.12"

# uv goes into .tools/, so that the system's Python does not change. pip allows `--target` even where
# a distribution marks its Python as externally managed (PEP 668).
uv=.tools/bin/uv
if ! "$uv" --version >/dev/null 2>&1; then
  echo "set-up: fetching uv"
  if "$python" -m pip --version >/dev/null 2>&1; then
    "$python" -m pip install -q --disable-pip-version-check --root-user-action=ignore \
      --require-hashes --no-deps --upgrade --target .tools -r requirements/uv.txt 2>.tools.log ||
      { cat .tools.log >&2; fail "pip could not install uv (the reason is above)"; }
    rm -f .tools.log
  elif "$python" -c 'import ensurepip' 2>/dev/null; then
    "$python" -m venv .tools/pip-venv
    .tools/pip-venv/bin/python -m pip install -q --require-hashes --no-deps -r requirements/uv.txt
    mkdir -p .tools/bin && ln -sf ../pip-venv/bin/uv "$uv"
  else
    fail "$python has neither pip nor ensurepip. On Debian and Ubuntu: apt install python3-pip (or python3-venv)"
  fi
fi

echo "set-up: environment for $("$python" --version) in $venv"
if ! supported "$venv/bin/python"; then
  "$uv" venv -q --clear --python "$("$python" -c 'import sys; print(sys.executable)')" "$venv"
fi
# Two wheels are tagged manylinux_2_39; relink_wheels.py makes them import where glibc is older.
# Byte code is compiled now: otherwise each process would spend seconds on it where the environment
# is read-only.
export VIRTUAL_ENV=$venv
echo "set-up: installing the locked requirements (3 GB; a minute on a fast network)"
"$uv" pip sync -q --require-hashes --python-platform x86_64-manylinux_2_39 --link-mode copy \
  --compile-bytecode --build-constraints requirements/build.txt requirements/locked.txt
"$uv" pip install -q --no-deps --no-build-isolation -e .
"$venv/bin/python" deploy/relink_wheels.py
echo "set-up: done"
