#!/usr/bin/env bash
# Sets everything up, builds, and runs the server with its demo room. Arguments go to the server:
#   scripts/run.sh --listen 127.0.0.1:9000
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/setup.sh

need_rust
need_packages "${BUILD_PACKAGES[@]}" "${RUN_PACKAGES[@]}"

echo "building (a few minutes the first time)"
# The whole workspace, as the tests do: for fewer packages cargo chooses other features of the
# dependencies, and would build these again.
cargo build --quiet --workspace

cat <<'TEXT'
The demo room is called "demo". Once the line "listening on …" is there, open its address in a
browser, or:
  curl -X POST -H 'Content-Type: application/json' -d '{"mint_id": "demo"}' http://127.0.0.1:8000/api/live-sessions/start
Ctrl-C stops the server and finishes its recordings.
TEXT
exec "$(target_dir)/debug/haven" serve --demo "$@"
