"""Which of llama.cpp's cases about reading answers fail here, and why.

Names are template and line in the vendored test. A case that passes and stands here is an error too, so the lists stay
as they are.
"""

from __future__ import annotations

from tests.vectors.chat_cases import ChatCase

__all__ = ["KNOWN", "OUT_OF_SCOPE", "known_reason"]

OUT_OF_SCOPE: dict[str, str] = {}
"""Cases that ask for what is not to be had here, with the reason."""

KNOWN: dict[str, str] = {}
"""Cases in scope that fail, with the reason."""


def known_reason(case: ChatCase) -> str | None:
    """Why a case fails; None where that is not known."""
    return OUT_OF_SCOPE.get(case.name) or KNOWN.get(case.name)
