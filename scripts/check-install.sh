#!/usr/bin/env bash
# Checks what users install: with meson from a clean prefix, and the Debian packages. Takes what cargo
# has built; nothing is installed on this machine.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/setup.sh

target=$(realpath "$(target_dir)")
build=$target/meson
prefix=$target/installed
mapfile -t plugins < <(scripts/meson-cargo.py plugins | cut -f1)

# check_elements FOLDER: every plugin's element is found there.
check_elements() {
    local element
    for element in "${plugins[@]}"; do
        GST_REGISTRY=$build/registry gst-inspect-1.0 "$1/libgst$element.so" >/dev/null ||
            fail "$element is not in $1"
    done
}

rm -rf "$prefix" "$build"
meson setup "$build" --prefix "$prefix" --libdir lib
meson install -C "$build" --quiet
check_elements "$prefix/lib/gstreamer-1.0"
"$prefix/bin/haven" --version
"$prefix/bin/haven-worker" --version
"$prefix/share/haven/launch/watch.sh" --help >/dev/null
for element in "${plugins[@]}"; do
    libraries=$(PKG_CONFIG_PATH=$prefix/lib/gstreamer-1.0/pkgconfig pkg-config --libs "gst$element")
    [[ $libraries == *"-L$prefix/lib/gstreamer-1.0 -lgst$element"* ]] || fail "gst$element.pc says $libraries"
done
for file in share/man/man1/haven-record.1 share/bash-completion/completions/haven etc/haven/haven.toml \
    lib/systemd/system/haven.service; do
    [[ -s $prefix/$file ]] || fail "$file is not installed"
done
grep -q "ExecStart=$prefix/bin/haven " "$prefix/lib/systemd/system/haven.service" || fail "the unit names another program"
meson test -C "$build" --print-errorlogs
ninja -C "$build" uninstall >/dev/null
[[ ! -e $prefix ]] || fail "uninstalling left behind: $(find "$prefix")"

# What is left out isn't there.
meson configure "$build" -Dlivekitsrc=disabled -Dserver=disabled -Ddoc=disabled -Dlaunch=disabled -Dpkg-config=disabled
meson install -C "$build" --quiet
files=$(find "$prefix" -type f -printf '%P ')
for part in livekitsrc bin/ share/ .pc; do
    [[ $files != *"$part"* ]] || fail "left out, and installed: $files"
done
[[ $files == *libgstwsjpegsink.so* ]] || fail "wsjpegsink is missing: $files"

packages=$target/debian
rm -rf "$packages"
mkdir "$packages"
HAVEN_CARGO_PROFILE=dev HAVEN_DEB_DIR=$packages DEB_BUILD_OPTIONS="nocheck noautodbgsym" DEB_BUILD_PROFILES=nocheck \
    debian/rules clean binary
debian/rules clean
for package in "$packages"/*.deb; do
    dpkg-deb --extract "$package" "$packages/root"
done
check_elements "$packages/root/usr/lib/$(dpkg-architecture -qDEB_HOST_MULTIARCH)/gstreamer-1.0"
for program in haven haven-worker; do
    "$packages/root/usr/bin/$program" --version
done
for file in etc/haven/haven.toml lib/systemd/system/haven.service usr/share/man/man1/haven.1.gz; do
    [[ -s $packages/root/$file ]] || fail "$file is in no package"
done
"$packages/root/usr/share/haven/launch/record-h264.sh" --help >/dev/null
