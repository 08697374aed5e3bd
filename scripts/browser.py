"""Finds Chromium and Node.js, with which the chat page is tried; installs Debian's where they are missing.

Not for: using the page; any browser does.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

__all__ = ["chromium", "node"]

CHROMIUM = ("chromium", "chromium-headless-shell", "chromium-browser", "google-chrome", "google-chrome-stable")
HELP = "install {} and try again (Debian: apt install {}); a Chromium elsewhere is named in the environment's CHROMIUM"


def chromium() -> str | None:
    """Where Chromium is: what the environment's CHROMIUM names, else the first that is there."""
    named = os.environ.get("CHROMIUM")
    return shutil.which(named) if named else next(filter(None, map(shutil.which, CHROMIUM)), None)


def node() -> str | None:
    """Where Node.js is."""
    return shutil.which("node")


def main() -> int:
    """Install what is missing."""
    missing = [name for name, found in (("chromium", chromium()), ("nodejs", node())) if found is None]
    if not missing:
        return 0
    names = " ".join(missing)
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        print(f"error: {HELP.format(names, names)}", file=sys.stderr)
        return 1
    print(f"Installing {names}, to try the chat page with", flush=True)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update", "-qq"], ["install", "-qq", "--no-install-recommends", "--yes", *missing]):
        done = subprocess.run(["apt-get", *command], env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            print(f"{done.stdout}{done.stderr}error: {HELP.format(names, names)}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
