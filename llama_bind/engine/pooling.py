"""The rows of a text's tokens become its embedding, chunk by chunk. Pure.

llama.cpp pools only what lies in one micro-batch, and where sequences have streams of their own it divides texts of
different lengths between micro-batches: the mean is then that of a text's end. Pooled here, a text may be as long as
the context, and neighbours do not matter. The kinds are
llama.cpp's (``llama_pooling_type`` and ``build_pooling`` in llama-graph.cpp), and for texts that fit in a micro-batch
the numbers are its numbers. Not for: rank pooling, which needs the model's classification head (llama.cpp applies it).
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

__all__ = ["POOLING_KINDS", "Pool", "PoolingKind", "needs_all_rows", "normalized"]

Floats = npt.NDArray[np.float32]
PoolingKind = Literal["none", "mean", "cls", "last", "rank"]
"""How rows become one: not at all, their mean, the first, the last; "rank": scores of a classifier."""
POOLING_KINDS: tuple[PoolingKind, ...] = get_args(PoolingKind)


def needs_all_rows(kind: PoolingKind) -> bool:
    """Whether every token's row is looked at; else only the last one's."""
    return kind in ("none", "mean", "cls")


class Pool:
    """Takes the rows of one text in order, gives its embedding.

    Args:
        kind: Any but "rank".
        n_tokens: Tokens of the text, at least one.
    """

    def __init__(self, kind: PoolingKind, n_tokens: int) -> None:
        if kind not in POOLING_KINDS or kind == "rank":
            raise ValueError(f"rows cannot be pooled as {kind!r}")
        self.kind = kind
        self.n_tokens = n_tokens
        self._seen = 0
        self._sum: npt.NDArray[np.float64] | None = None  # the mean's, so that long texts lose nothing
        self._row: Floats | None = None
        self._rows: Floats | None = None

    def add(self, start: int, rows: Floats) -> None:
        """Rows of the tokens from `start` on, shape (n, width), copied. Starting at 0 again forgets all before.

        With "last" only the end of the text counts, so there places may be left out.

        Raises:
            ValueError: rows are missing before these, or these are past the end.
        """
        if start == 0:
            self._seen, self._sum, self._row = 0, None, None
        if start + len(rows) > self.n_tokens or (start != self._seen and needs_all_rows(self.kind)):
            raise ValueError(f"rows {start} to {start + len(rows)} do not follow {self._seen} of {self.n_tokens}")
        self._seen = start + len(rows)
        if self.kind == "mean":
            total = rows.sum(axis=0, dtype=np.float64)
            self._sum = total if self._sum is None else self._sum + total
        elif self.kind == "none":
            if self._rows is None:
                self._rows = np.empty((self.n_tokens, rows.shape[1]), np.float32)
            self._rows[start : self._seen] = rows
        elif self.kind == "last" or self._row is None:
            self._row = np.array(rows[-1 if self.kind == "last" else 0], np.float32)

    def result(self) -> Floats:
        """The embedding, shape (width,), or (n_tokens, width) without pooling.

        Raises:
            ValueError: not all rows were given.
        """
        if self._seen != self.n_tokens:
            raise ValueError(f"{self._seen} of {self.n_tokens} rows were given")
        if self._sum is not None:
            return np.asarray(self._sum / self.n_tokens, np.float32)
        result = self._rows if self.kind == "none" else self._row
        assert result is not None
        return result


def normalized(vector: Floats) -> Floats:
    """Scaled to length 1 along the last axis; zeros stay zeros."""
    wide = vector.astype(np.float64)
    length = np.linalg.norm(wide, axis=-1, keepdims=True)
    return np.asarray(wide / np.where(length > 0, length, 1), np.float32)
