#!/usr/bin/env python3
"""What meson asks of cargo: what there is to build, and building it.

version           prints the project's version
plugins           prints a line for each plugin: name, version, description, what it requires of
                  pkg-config, separated by tabs
build OUTPUT…     builds, and puts the artifacts where meson expects them
"""

import argparse
import json
import os
import pathlib
import shutil
import subprocess
import sys

SOURCE = pathlib.Path(__file__).resolve().parent.parent
# The folders of cargo's profiles, which aren't named like them.
FOLDERS = {"dev": "debug", "release": "release"}


def metadata(cargo):
    """Cargo's description of the workspace."""
    command = [cargo, "metadata", "--no-deps", "--format-version=1"]
    return json.loads(subprocess.run(command, cwd=SOURCE, check=True, stdout=subprocess.PIPE).stdout)


def plugins(workspace):
    """The packages that are plugins of GStreamer, with the name of each plugin."""
    for package in workspace["packages"]:
        for target in package["targets"]:
            if "cdylib" in target["crate_types"] and target["name"].startswith("gst"):
                yield target["name"].removeprefix("gst"), package


def print_version(workspace):
    """All packages have the workspace's version."""
    versions = {package["version"] for package in workspace["packages"]}
    if len(versions) != 1:
        sys.exit(f"the workspace has several versions: {', '.join(sorted(versions))}")
    print(*versions)


def print_plugins(workspace):
    for name, package in sorted(plugins(workspace), key=lambda pair: pair[0]):
        capi = (package["metadata"] or {}).get("capi", {})
        requires = capi.get("pkg_config", {}).get("requires_private", "gstreamer-1.0")
        print(name, package["version"], package["description"], requires, sep="\t")


def package_of(workspace, artifact):
    """The package that an artifact comes from."""
    for name, package in plugins(workspace):
        if artifact == f"libgst{name}.so":
            return package["name"]
    # Programs are named like their packages.
    return artifact


def build(workspace, cargo, profile, outputs):
    command = [cargo, "build", "--locked", f"--profile={profile}"]
    if profile == "dev":
        # The whole workspace, as the scripts do: the same features of the dependencies, so
        # nothing is built twice.
        command.append("--workspace")
    else:
        command += [f"--package={package_of(workspace, output.name)}" for output in outputs]
    subprocess.run(command, cwd=SOURCE, check=True)

    target = pathlib.Path(workspace["target_directory"], FOLDERS[profile])
    for output in outputs:
        built = target / output.name
        if not output.exists() or output.stat().st_mtime_ns != built.stat().st_mtime_ns:
            shutil.copy2(built, output)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("task", choices=("version", "plugins", "build"))
    parser.add_argument("--cargo", default=os.environ.get("CARGO", "cargo"))
    parser.add_argument("--profile", choices=FOLDERS, default="dev")
    parser.add_argument("outputs", nargs="*", type=pathlib.Path)
    arguments = parser.parse_intermixed_args()
    outputs = [output.absolute() for output in arguments.outputs]
    try:
        workspace = metadata(arguments.cargo)
        if arguments.task == "version":
            print_version(workspace)
        elif arguments.task == "plugins":
            print_plugins(workspace)
        else:
            build(workspace, arguments.cargo, arguments.profile, outputs)
    except FileNotFoundError as error:
        sys.exit(f"{error.filename} is missing; install Rust 1.95 or newer with rustup")
    except subprocess.CalledProcessError as error:
        sys.exit(error.returncode)


if __name__ == "__main__":
    main()
