"""Makes build/judges and its like: environments with clients and frameworks of others, for ``tests/judges``.

They see the packages of the environment that runs this script (llama_bind, pytest and so on), so that only what is not
there is installed. Packages for Node.js go into build/npm-judges. Nothing is done while the lists, the Python and that
environment are those of the last time. Not for: running the tests (``make judges`` does).
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

__all__ = ["ENVIRONMENTS", "NODE_MODULES", "key", "main"]

ROOT = Path(__file__).resolve().parent.parent
LISTS = ROOT / "tests" / "judges"
ENVIRONMENTS = {
    ROOT / "build" / "judges": LISTS / "requirements.txt",
    ROOT / "build" / "judges-llm": LISTS / "llm_plugin" / "requirements.txt",
    ROOT / "build" / "judges-compat": LISTS / "compat" / "requirements.txt",
}
"""Environment -> what is installed into it."""
NODE_MODULES = ROOT / "build" / "npm-judges"
PACKAGES = LISTS / "package.json"
ALONE = "requirements-alone.txt"
"""A list beside that of an environment: packages to install without what they require."""
_PIP = ("--disable-pip-version-check", "install", "--quiet", "--no-input", "--no-compile")
"""Not compiled: of what is installed the tests import the smaller part, and that is compiled then."""
_NPM = ("install", "--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts", "--loglevel=error")
_TIMEOUT_S = 1200


def key(wanted: Path) -> str:
    """What an environment is made from, as a hash.

    Args:
        wanted: The list of what is installed.
    """
    below = sorted(f"{d.metadata['Name']}=={d.version}" for d in importlib.metadata.distributions())
    here = json.dumps([sys.version, sys.executable, str(ROOT), below]).encode()
    lists = [file.read_bytes() for file in (wanted, wanted.with_name(ALONE)) if file.is_file()]
    return hashlib.sha256(b"\0".join([Path(__file__).read_bytes(), *lists, here])).hexdigest()


def main() -> int:
    """Make them, or make them anew where something has changed.

    Returns:
        0, or the exit status of the installer that failed.
    """
    jobs: list[tuple[Path, Path, Callable[[Path, Path], int]]]
    jobs = [(folder, wanted, _make_python) for folder, wanted in ENVIRONMENTS.items()]
    if shutil.which("npm") is None:
        print("Node.js with npm is not installed: the clients for it will not be tried.", file=sys.stderr)
    else:
        jobs.append((NODE_MODULES, PACKAGES, _make_node))
    with ThreadPoolExecutor(len(jobs)) as pool:  # they wait for the network as much as they compute
        statuses = list(pool.map(lambda job: _made(*job), jobs))
    return next((status for status in statuses if status), 0)


def _made(folder: Path, wanted: Path, make: Callable[[Path, Path], int]) -> int:
    """0 where nothing was to be done, else what `make` gives."""
    done, now = folder / "done", key(wanted)
    if done.is_file() and done.read_text(encoding="utf-8") == now:
        return 0
    print(f"Installing {wanted.relative_to(ROOT)} into {folder.relative_to(ROOT)}: a minute the first time", flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    status = make(folder, wanted)
    if status == 0:
        done.write_text(now, encoding="utf-8")
    return status


def _make_python(folder: Path, wanted: Path) -> int:
    """An environment that sees the packages of this one behind its own."""
    venv.create(folder, symlinks=os.name != "nt", with_pip=False)
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    asked = "import sysconfig; print(sysconfig.get_path('purelib'))"
    own = subprocess.run([python, "-c", asked], capture_output=True, text=True, timeout=60, check=True)
    # addsitedir and not a plain path: the .pth files in there, such as that of an editable install, count as well.
    seen = f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n"
    Path(own.stdout.strip(), "parent.pth").write_text(seen, encoding="utf-8")
    (folder / "parent").write_text(sys.executable, encoding="utf-8")
    status = _run([str(python), "-m", "pip", *_PIP, "--requirement", str(wanted)], ROOT)
    alone = wanted.with_name(ALONE)
    if status or not alone.is_file():
        return status
    return _run([str(python), "-m", "pip", *_PIP, "--no-deps", "--requirement", str(alone)], ROOT)


def _make_node(folder: Path, wanted: Path) -> int:
    folder.mkdir(parents=True)
    shutil.copy(wanted, folder)
    return _run([shutil.which("npm") or "npm", *_NPM], folder)


def _run(command: Sequence[str], folder: Path) -> int:
    return subprocess.run(command, cwd=folder, timeout=_TIMEOUT_S, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
