# Sourced by run.sh, test.sh and rig.sh: makes sure that what they need is on the machine.

# To build the plugins, the worker and the server.
BUILD_PACKAGES=(
    build-essential cmake pkg-config
    libgstreamer1.0-dev libgstreamer-plugins-base1.0-dev libgstreamer-plugins-bad1.0-dev
)
# To show and record a room.
RUN_PACKAGES=(
    gstreamer1.0-tools gstreamer1.0-plugins-base gstreamer1.0-plugins-good
    gstreamer1.0-plugins-bad gstreamer1.0-plugins-ugly gstreamer1.0-libav
)
# To test: zsh and fish load their completions, systemd looks at its unit, ffmpeg makes and measures media, chromium shows pages, curl runs the README's lines, meson and
# debhelper check the installation, shellcheck the scripts, gi is for the examples in Python, and textoverlay
# (in gstreamer1.0-x, with a font) for the one that writes into the picture.
TEST_PACKAGES=(
    chromium curl ffmpeg meson debhelper shellcheck
    zsh fish systemd
    python3-gi gir1.2-gstreamer-1.0 gstreamer1.0-x fonts-dejavu-core
)

fail() {
    echo "$*" >&2
    exit 1
}

# need_command NAME HINT: fails with the hint where the command is missing.
need_command() {
    command -v "$1" >/dev/null 2>&1 || fail "$1 is missing: $2"
}

# need_packages NAME…: installs the Debian packages that are missing.
need_packages() {
    command -v dpkg-query >/dev/null 2>&1 ||
        fail "this is no Debian or Ubuntu machine; install what matches these packages, then build with cargo: $*"
    local installed missing=()
    # shellcheck disable=SC2016 # dpkg-query's own fields
    installed=" $(dpkg-query -W -f '${db:Status-Status}:${Package} ' "$@" 2>/dev/null || true)"
    for package in "$@"; do
        [[ $installed == *" installed:$package "* ]] || missing+=("$package")
    done
    [[ ${#missing[@]} -eq 0 ]] && return
    echo "missing Debian packages: ${missing[*]}"
    local as_root=()
    if [[ $(id -u) -ne 0 ]]; then
        need_command sudo "as root, run: apt-get install ${missing[*]}"
        as_root=(sudo)
    fi
    "${as_root[@]}" apt-get update -qq
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends "${missing[@]}"
}

need_rust() {
    need_command cargo "install Rust 1.95 or newer with rustup, then run this again"
}

# Where cargo puts what it builds.
target_dir() {
    echo "${CARGO_TARGET_DIR:-target}"
}
