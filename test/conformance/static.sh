#!/usr/bin/env bash
# Format, lint and types of the whole repository, and the package as it would be published.
set -uo pipefail
cd "$(dirname "$0")/../.."
case_of() {
  local title=$1 output
  shift
  if output=$("$@" 2>&1); then echo "ok $title"; else echo "not ok $title"; echo "$output"; fi
}
case_of "biome finds nothing" npx biome check --error-on-warnings .
case_of "tsc finds nothing" npx tsc
packed() { npm pack --dry-run --json 2>/dev/null | node -e '
  const [{ files }] = JSON.parse(require("node:fs").readFileSync(0, "utf8"));
  const names = files.map((file) => file.path);
  const missing = ["bin/expand-checkpoint.js", "dist/index.js", "dist/index.d.ts", "dist/cli/main.js", "README.md", "LICENSE"].filter((name) => !names.includes(name));
  const strange = names.filter((name) => !/^(bin|dist)\/|^(README|CHANGELOG)\.md$|^LICENSE$|^package\.json$/.test(name));
  if (missing.length + strange.length > 0) { console.log({ missing, strange }); process.exit(1); }'; }
case_of "the package holds the program and nothing else" packed
