"""The bar that is drawn while a model is fetched: with rich, without it, and not at all without a terminal."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from llama_bind.hub.progress import human_size, progress_bar
from tests.terminal import Terminal

CODE = """
import sys
if {hidden}:
    sys.modules["rich"] = None
from llama_bind.hub.progress import progress_bar
with progress_bar("fetching tiny", 2_000_000) as update:
    update(1_000_000)
    update(3_000_000)
print("done")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo terminals of this kind")
@pytest.mark.parametrize(("hidden", "shown"), [(False, "2.0/2.0 MB"), (True, "100% of 2.0 MB")])
def test_on_a_terminal(hidden: bool, shown: str) -> None:
    root = str(Path(__file__).resolve().parents[2])
    command = [sys.executable, "-c", CODE.format(hidden=hidden)]
    with Terminal(command, {"PYTHONPATH": root, "COLUMNS": "120", "TERM": "xterm"}) as terminal:
        before = terminal.expect("done")
        assert "fetching tiny" in before
        assert shown in before
        assert terminal.end() == 0


def test_without_a_terminal_nothing_is_drawn(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar("x", 100) as update:
        update(50)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 bytes"), (999, "999 bytes"), (98_362_432, "98.4 MB"), (25_300_000_000, "25.3 GB"), (3e15, "3000.0 TB")],
)
def test_sizes(size: float, text: str) -> None:
    assert human_size(size) == text
