#!/usr/bin/env bash
# Makes the virtual environment of the test in Python, in .cache/python: test/wire/python.test.ts is skipped without it. Does nothing when
# it is there with the versions of today. Needs Python 3.10 or newer with pip; PYTHON names another than python3.
set -euo pipefail
cd "$(dirname "$0")/.."

python=${PYTHON:-python3}
wanted=test/python/requirements.txt
made=.cache/python/requirements.txt
if cmp -s "$wanted" "$made"; then exit 0; fi

rm -rf .cache/python
# Without pip inside, so that Debian's package for that is not needed.
"$python" -m venv --without-pip .cache/python
"$python" -m pip --disable-pip-version-check --python .cache/python/bin/python install --quiet --requirement "$wanted"
# Last: an installation that was interrupted is made again.
cp "$wanted" "$made"
