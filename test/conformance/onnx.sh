#!/usr/bin/env bash
# Other people's ONNX files, expanded and run: `onnx.sh PYTHON WORK`. PYTHON has the packages of requirements.txt. Prints "ok ..." and
# "not ok ..." lines.
set -uo pipefail
cd "$(dirname "$0")"
python=$1
work=$2
pip() { "$python" -m pip install --quiet --disable-pip-version-check "$@"; }

mkdir -p "$work/exports"
pip -r requirements-onnx.txt || echo "not ok packages of requirements-onnx.txt"
pip --no-deps --target "$work/optimum" -r requirements-optimum.txt || echo "not ok packages of requirements-optimum.txt"
npm ci --silent --prefix onnx || echo "not ok packages of onnx/package.json"
"$python" onnx_exports.py "$work/exports" torchscript dynamo genai 2>"$work/exports.log" | sed -n 's/^unmade /not ok export of /p'
PYTHONPATH="$work/optimum" "$python" onnx_exports.py "$work/exports" optimum 2>>"$work/exports.log" | sed -n 's/^unmade /not ok export of /p'
npx tsx onnx_identity.ts "$work/exports"
