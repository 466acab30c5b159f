#!/bin/sh
# Makes $VENV with the locked versions and the project in editable form. Steps, also written out in the README:
# a virtual environment, uv inside it, the lock, the project.
set -eu
PYTHON="${PYTHON:-python3}"
VENV="${VENV:-.venv}"

"$PYTHON" - <<'PY' || { echo "setup: needs Python 3.11 or newer; name one with: make setup PYTHON=/path/to/python3.12" >&2; exit 1; }
import sys
sys.exit(sys.version_info < (3, 11))
PY

if [ ! -x "$VENV/bin/python" ]; then
    echo "setup: making $VENV"
    "$PYTHON" -m venv "$VENV" || { echo "setup: python's venv module failed (on Debian and Ubuntu: apt-get install python3-venv)" >&2; exit 1; }
fi
if ! "$VENV/bin/uv" --version >/dev/null 2>&1; then
    "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check uv
fi
echo "setup: installing the locked packages (about 5 GB with torch; once)"
# Compiled once here, so that no later start pays for it (some machines forbid Python to write its caches).
"$VENV/bin/uv" pip install --quiet --compile-bytecode --python "$VENV/bin/python" -r requirements.lock
"$VENV/bin/uv" pip install --quiet --python "$VENV/bin/python" --no-deps --editable .
touch "$VENV/.setup-done"
echo "setup: done"
