"""How model families write tool calls: one module each, found by what the chat template contains."""

from __future__ import annotations
