"""The chat page's scripts that need no browser, tried with Node: Markdown, code, settings, what is read back."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from scripts.browser import node

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "llama_bind" / "server" / "page"


@pytest.fixture(scope="module")
def modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scripts where Node takes them for modules, as browsers do by the page's word."""
    folder = tmp_path_factory.mktemp("page")
    for script in PAGE.glob("*.js"):
        shutil.copy(script, folder)
    (folder / "package.json").write_text('{"type": "module"}')
    return folder


@pytest.mark.parametrize("name", ["markdown", "code"])
def test_with_node(name: str, modules: Path) -> None:
    program = node()
    assert program is not None, "Node.js is needed to try the chat page's scripts: `make browser` installs Debian's"
    done = subprocess.run(
        [program, "--test", ROOT / "tests" / "page" / f"{name}.test.mjs"],
        env={**os.environ, "PAGE": str(modules)}, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr
    ran = re.search(r"^# pass (\d+)$", done.stdout, re.M)
    assert ran is not None
    assert int(ran[1]) >= 6, "tests were not found"
