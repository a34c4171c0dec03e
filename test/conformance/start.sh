#!/usr/bin/env bash
# The README's main job, as a new user runs it.
set -uo pipefail
cd "$(dirname "$0")/../.."
output=$(npm start 2>&1)
status=$?
echo "$output"
if [ "$status" -eq 0 ] && grep -q "^identity" <<<"$output"; then echo "ok npm start proves identity"; else echo "not ok npm start ended with status $status"; fi
