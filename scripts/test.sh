#!/usr/bin/env bash
# Sets everything up and runs all tests. Ends with the test runners' own closing lines.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/setup.sh

need_rust
need_command go "the tests build a real LiveKit server; install Go 1.26 or newer"
need_command python3 "the tests publish with LiveKit's Python SDK; install Python 3.10 or newer"
extra=()
python3 -c 'import ensurepip' 2>/dev/null || extra+=(python3-venv)
need_packages "${BUILD_PACKAGES[@]}" "${RUN_PACKAGES[@]}" "${TEST_PACKAGES[@]}" "${extra[@]}"

# The tests run the built programs and load the built plugins, so these come first.
cargo build --workspace

bash scripts/check-install.sh

(cd tests/rig/publisher && go vet ./... && go test ./...)
cargo test --workspace --no-fail-fast
