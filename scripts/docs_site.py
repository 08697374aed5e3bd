"""Builds the pages under docs as a site in build/site, in an environment of its own: ``make site``.

A link that leads nowhere, a page that is in no menu, or a name of the API reference that is not there ends it with an
error. Not for: what the pages say, or trying their code blocks (the tests do).
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

__all__ = ["main"]

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "build" / "site-env"
WANTED = ROOT / "docs" / "requirements.txt"
TIMEOUT_S = 900


def main() -> int:
    """Make the environment where it is missing or old, then the site.

    Returns:
        0, or the exit status of what failed.
    """
    python = FOLDER / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    done = FOLDER / "done"
    now = hashlib.sha256(WANTED.read_bytes() + sys.version.encode()).hexdigest()
    if not (done.is_file() and done.read_text(encoding="utf-8") == now):
        print("Installing what builds the site: a minute the first time", flush=True)
        shutil.rmtree(FOLDER, ignore_errors=True)
        venv.create(FOLDER, symlinks=os.name != "nt", with_pip=True)
        command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", str(WANTED)]
        status = subprocess.run(command, timeout=TIMEOUT_S, check=False).returncode
        if status:
            return status
        done.write_text(now, encoding="utf-8")
    # The notice is an advertisement of the theme's makers, printed to every build.
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1", "DISABLE_MKDOCS_2_WARNING": "true"}
    command = [str(python), "-m", "mkdocs", "build", "--strict"]  # not --quiet: then nothing is counted
    return subprocess.run(command, cwd=ROOT, env=environment, timeout=TIMEOUT_S, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
