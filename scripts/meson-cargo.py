"""Builds one package with cargo and puts its artifact where meson expects it."""

import argparse
import os
import pathlib
import shutil
import subprocess


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("cargo", "source", "package", "artifact", "output"):
        parser.add_argument(f"--{name}", required=True)
    profile = parser.add_mutually_exclusive_group(required=True)
    profile.add_argument("--release", action="store_true")
    profile.add_argument("--debug", action="store_true")
    arguments = parser.parse_args()

    command = [arguments.cargo, "build", "--locked", "--package", arguments.package]
    if arguments.release:
        command.append("--release")
    subprocess.run(command, cwd=arguments.source, check=True)

    target = os.environ.get("CARGO_TARGET_DIR", "target")
    folder = "release" if arguments.release else "debug"
    built = pathlib.Path(arguments.source, target, folder, arguments.artifact)
    output = pathlib.Path(arguments.output)
    if not output.exists() or output.stat().st_mtime < built.stat().st_mtime:
        shutil.copy2(built, output)


if __name__ == "__main__":
    main()
