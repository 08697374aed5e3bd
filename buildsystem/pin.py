"""Where things lie in a checkout or source distribution, and which llama.cpp is pinned. Decides nothing itself: the
pin is in `llama_bind/lib/_pin.py`, read here as text because the package cannot be imported before it is built.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PIN_FILE = Path("llama_bind/lib/_pin.py")
VENDOR = Path("vendor/llama.cpp")
MANIFEST = Path("buildsystem/manifest.txt")


class VendorError(Exception):
    """The vendored tree is missing, incomplete or not the pinned one. The message says what to do."""


@dataclass(frozen=True)
class Pin:
    """The pinned llama.cpp; the fields are those of `llama_bind/lib/_pin.py`."""

    upstream: str
    commit: str
    tree: str
    version: str
    fallback: str


def read_pin(root: Path = ROOT) -> Pin:
    """Returns the pin written in `root`'s `llama_bind/lib/_pin.py`."""
    values: dict[str, str] = {}
    for node in ast.parse((root / PIN_FILE).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
            values[node.target.id] = ast.literal_eval(node.value)
    return Pin(values["UPSTREAM"], values["COMMIT"], values["TREE"], values["VERSION"], values["FALLBACK"])
