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

# An installation: programs and elements are found where meson puts them.
prefix=$(realpath "$(target_dir)")/installed
rm -rf "$prefix" "$(target_dir)/meson"
meson setup "$(target_dir)/meson" --prefix "$prefix" --libdir lib
meson install -C "$(target_dir)/meson" --quiet
for element in livekitsrc wsjpegsink; do
    GST_PLUGIN_PATH="$prefix/lib/gstreamer-1.0" GST_REGISTRY="$prefix/registry" \
        gst-inspect-1.0 "$element" >/dev/null || fail "$element is not where meson installed it"
done
"$prefix/bin/haven" --version
"$prefix/bin/haven-worker" --version

(cd tests/rig/publisher && go vet ./... && go test ./...)
cargo test --workspace --no-fail-fast
