"""Computes the steps of embeddings and ranks: rows out of the context, pooled, one result for each text.

Not for: how rows are pooled (pooling), or which texts a step computes (scheduler).
"""

from __future__ import annotations

from collections.abc import Sequence as Many
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from llama_bind.engine.outcome import Sampled
from llama_bind.engine.pooling import Pool, needs_all_rows
from llama_bind.engine.scheduler import Chunk, StepPlan
from llama_bind.engine.sequence import Sequence
from llama_bind.errors import DecodeError

if TYPE_CHECKING:
    from llama_bind.engine.runner import Runner

__all__ = ["Vectors"]

Floats = npt.NDArray[np.float32]

POOLING_NONE = 0  # LLAMA_POOLING_TYPE_NONE
LEAST_APART = 128
"""Fewest tokens whose rows nobody wants that are worth a computation of their own."""
APART_FOR_EACH = 8
"""And as many of them for each row that is wanted."""


def equip(sequence: Sequence) -> None:
    """Give an embedding's sequence what collects its rows."""
    request = sequence.request
    sequence.pool = None if request.pooling == "rank" else Pool(request.pooling, sequence.n_tokens)


class Vectors:
    """Runs plans of `runner` whose chunks are texts to embed. Its context may be replaced meanwhile."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    def equip(self, sequence: Sequence) -> None:
        """Give a text what collects its rows, unless the context pools them."""
        rows = self._runner.context.pooling_type == POOLING_NONE
        sequence.pool = Pool(sequence.request.pooling, sequence.n_tokens) if rows else None

    def run(self, plan: StepPlan) -> list[Sampled]:
        """Compute the plan's tokens; a result for every text that is complete now.

        Raises:
            DecodeError: nothing of the plan counts.
        """
        without, shown = self._apart(plan.chunks)
        if without:
            self._runner.compute(without, embed=False)
        if shown:
            self._runner.compute(shown, embed=True)
            self._collect(shown)
        results: list[Sampled] = []
        for chunk in plan.chunks:
            sequence = chunk.sequence
            sequence.n_computed = chunk.start + chunk.count
            if sequence.n_computed == sequence.n_tokens:
                results.append(self._finished(sequence))
        return results

    def _apart(self, chunks: Many[Chunk]) -> tuple[list[Chunk], list[Chunk]]:
        """What is computed without output and what with it.

        llama.cpp multiplies every row that it gives with the output matrix, also where only the row itself is asked
        for: a quarter of a small model's work. Where only last rows count they are computed by themselves.
        """
        without: list[Chunk] = []
        shown: list[Chunk] = []
        for chunk in chunks:
            sequence, end = chunk.sequence, chunk.start + chunk.count
            if self._runner.context.whole_texts or needs_all_rows(sequence.request.pooling):
                shown.append(Chunk(sequence, chunk.start, chunk.count, "all"))
                continue
            ends = end == sequence.n_tokens
            if chunk.count > ends:
                without.append(Chunk(sequence, chunk.start, chunk.count - ends, "none"))
            if ends:
                shown.append(Chunk(sequence, end - 1, 1, "all"))
        n_without = sum(c.count for c in without)
        if shown and n_without < max(LEAST_APART, APART_FOR_EACH * len(shown)):
            return [], [Chunk(c.sequence, c.start, c.count, "all") for c in chunks]
        return without, shown

    def _collect(self, chunks: Many[Chunk]) -> None:
        context = self._runner.context
        if context.pooling_type != POOLING_NONE:
            for chunk in chunks:
                chunk.sequence.result = context.embeddings_seq(chunk.sequence.slot)
            return
        rows = context.embedding_rows(sum(c.count for c in chunks))
        index = 0
        for chunk in chunks:
            pool = chunk.sequence.pool
            assert pool is not None
            pool.add(chunk.start, rows[index : index + chunk.count])
            index += chunk.count

    def _finished(self, sequence: Sequence) -> Sampled:
        if sequence.pool is not None:
            sequence.result, sequence.pool = sequence.pool.result(), None
        if not np.isfinite(sequence.result).all():
            return Sampled(sequence, error=DecodeError("the model gave an embedding that is not finite numbers"))
        return Sampled(sequence)
