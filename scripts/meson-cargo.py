"""Builds with cargo and puts the artifacts where meson expects them."""

import argparse
import os
import pathlib
import shutil
import subprocess

# What is installed. In debug builds the whole workspace is built instead, as the scripts do:
# the same features of the dependencies, so nothing is built twice.
PACKAGES = ("gst-plugin-livekitsrc", "gst-plugin-wsjpegsink", "haven-worker", "haven")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cargo", required=True)
    parser.add_argument("--source", required=True)
    profile = parser.add_mutually_exclusive_group(required=True)
    profile.add_argument("--release", action="store_true")
    profile.add_argument("--debug", action="store_true")
    parser.add_argument("outputs", nargs="+", type=pathlib.Path)
    arguments = parser.parse_args()

    command = [arguments.cargo, "build", "--locked"]
    if arguments.release:
        command += ["--release", *(f"--package={name}" for name in PACKAGES)]
    else:
        command.append("--workspace")
    subprocess.run(command, cwd=arguments.source, check=True)

    target = os.environ.get("CARGO_TARGET_DIR", "target")
    folder = "release" if arguments.release else "debug"
    for output in arguments.outputs:
        built = pathlib.Path(arguments.source, target, folder, output.name)
        if not output.exists() or output.stat().st_mtime < built.stat().st_mtime:
            shutil.copy2(built, output)


if __name__ == "__main__":
    main()
