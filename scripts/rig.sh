#!/bin/sh
# A real LiveKit room with a publisher and pump.fun's stand-in, to try things in; Ctrl-C stops it.
# Options: scripts/rig.sh --help
set -eu
cd "$(dirname "$0")/.."
for tool in cargo go ffmpeg; do
    if ! command -v "$tool" >/dev/null 2>&1; then
        echo "rig.sh: \`$tool\` is missing (ffmpeg: apt-get install ffmpeg; Go 1.26: https://go.dev/dl; Rust: https://rustup.rs)" >&2
        exit 1
    fi
done
cargo build --quiet --workspace
# Not `cargo run`: Ctrl-C must reach the rig itself.
exec "${CARGO_TARGET_DIR:-target}/debug/haven-rig" "$@"
