"""A limit on the tokens of reasoning: counts them, and says what must follow when they are used up.

As llama.cpp's reasoning budget (``common/reasoning-budget.cpp``), with texts where that has tokens: a block begins and
ends wherever its texts appear. Not for: grammars (``phases``), or taking the reasoning out of a text (chat).
"""

from __future__ import annotations

import enum

from llama_bind.structured.needles import Needles, Piece

__all__ = ["Budget", "BudgetState"]


class BudgetState(enum.Enum):
    """IDLE before a block, COUNTING in one, WAITING for the rest of a character, FORCING its end, DONE after one."""

    IDLE = "idle"
    COUNTING = "counting"
    WAITING = "waiting"
    FORCING = "forcing"
    DONE = "done"


class Budget:
    """Follows one output.

    Args:
        tokens: Most tokens of a block; each block has as many.
        openings: Texts that begin a block.
        ends: Texts that end it.
        closing: Tokens that are forced when the tokens are used up.
        opened: Whether the output begins inside a block.

    Attributes:
        state: Where it stands.
    """

    def __init__(
        self, tokens: int, openings: tuple[bytes, ...], ends: tuple[bytes, ...], closing: tuple[int, ...], opened: bool
    ) -> None:
        self._tokens = tokens
        self._openings = Needles(openings) if openings else None
        self._ends = Needles(ends)
        self._closing = closing
        self._left = tokens
        self._place = 0
        self._character = 0  # bytes that the last character still lacks
        self.state = BudgetState.IDLE
        if opened:
            self._open()

    def _open(self) -> None:
        self._left = self._tokens
        self._character = 0
        self._ends.clear()
        if self._left > 0:
            self.state = BudgetState.COUNTING
        else:
            self._force()

    def _force(self) -> None:
        self.state, self._place = BudgetState.FORCING, 0
        if not self._closing:
            self._close()

    def _close(self) -> None:
        self.state = BudgetState.DONE
        if self._openings is not None:
            self._openings.clear()

    @property
    def left(self) -> int | None:
        """Tokens until the end is forced; None where nothing is counted."""
        return self._left if self.state is BudgetState.COUNTING else None

    @property
    def forced(self) -> tuple[int, ...]:
        """What must follow now."""
        return self._closing[self._place :] if self.state is BudgetState.FORCING else ()

    def accept(self, piece: Piece) -> None:
        """One more token."""
        if self.state is BudgetState.FORCING:
            self._place += 1
            if self._place >= len(self._closing):
                self._close()
        elif self.state in (BudgetState.IDLE, BudgetState.DONE):
            if self._openings is not None:
                if self._openings.find(piece) is None:
                    self._openings.push(piece)
                else:
                    self._open()
        else:
            self._count(piece)

    def _count(self, piece: Piece) -> None:
        if self._ends.find(piece) is not None:
            self._close()
            return
        self._ends.push(piece)
        self._character = _lacking(piece.text, self._character)
        self._left -= 1
        if self._left <= 0:
            if self._character:
                self.state = BudgetState.WAITING
            else:
                self._force()


def _lacking(text: bytes, before: int) -> int:
    """Bytes that the last character of `text` lacks, where the text before lacked `before`."""
    for back in range(1, min(len(text), 4) + 1):
        byte = text[-back]
        if byte & 0xC0 != 0x80:  # not a byte in the middle of a character
            width = 4 if byte >= 0xF0 else 3 if byte >= 0xE0 else 2 if byte >= 0xC0 else 1
            return max(width - back, 0)
    return max(before - len(text), 0)
