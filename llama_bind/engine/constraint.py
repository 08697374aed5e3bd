"""What the engine knows of a constraint on a request's output. Pure protocols. Not for: making them (structured)."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any, Protocol

import numpy.typing as npt

__all__ = ["Constraint", "ConstraintMaker"]


class Constraint(Protocol):
    """The state of one output. One thread uses it; tokens go in by `accept`, in order, all but the one that ends it.

    Any of its methods may raise an error; that ends its request.
    """

    @property
    def active(self) -> bool:
        """Whether it may refuse anything now; while False only `accept` need be called."""
        ...

    def allows(self, token: int) -> bool:
        """Whether `token` may come next; changes nothing. An end token is allowed where the output may end."""
        ...

    def fitting(self, tokens: Sequence[int]) -> int:
        """How many of `tokens`, in this order, may come next: at most so many, where that is not known better."""
        ...

    def refused(self) -> npt.NDArray[Any]:
        """Every token that may not come next: bools, shape (n_vocab,)."""
        ...

    def accept(self, token: int) -> None:
        """`token` came next."""
        ...

    def forced(self) -> Sequence[int]:
        """Tokens that must come next, in order; none where there is a choice."""
        ...

    @property
    def finished(self) -> bool:
        """Whether nothing but the end may follow."""
        ...


ConstraintMaker = Callable[[Hashable], Constraint]
"""Makes the constraint of a request from its `Spec`, for one model's vocabulary; kept by the runner.

Any thread may call it. The first call for a `Spec` compiles it and raises what is wrong with it, so the engine asks for
one when a request arrives, on the thread that brings it.
"""
