#!/usr/bin/env bash
# All that an NVIDIA GPU is needed for: training there, by every layout and type, held against the CPU. Prints what it measures; exits 1 when
# anything failed and 77 when there is no GPU. Never part of the tests.
#
#   test/gpu/run.sh [WORK]
set -euo pipefail
cd "$(dirname "$0")/../.."

if ! nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv,noheader 2>/dev/null; then
  echo "no NVIDIA GPU was found: nothing of this was tried" >&2
  exit 77
fi
work=${1:-$(mktemp -d)}
[ -d node_modules ] || npm ci
[ -d dist ] || npm run --silent build
node bin/expand-checkpoint.js doctor
npx tsx test/gpu/train.ts "$work"
