"""Test vectors of llama.cpp, read in place from the vendored tree. Nothing of them is copied into this repository."""

from __future__ import annotations

from pathlib import Path

LLAMA_CPP = Path(__file__).parents[2] / "vendor" / "llama.cpp"
"""The vendored tree."""
