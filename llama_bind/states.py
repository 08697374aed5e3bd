"""Saving and loading what an engine's memory holds of a text. The functions run where the engine is.

Not for: the bytes of a state (``core.state``), or the prefix cache's own tiers (``engine.store``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from llama_bind.errors import StateError
from llama_bind.values import LlamaState

if TYPE_CHECKING:
    from llama_bind.engine.loop import Engine
    from llama_bind.engine.runner import Runner

__all__ = ["load_state", "save_state"]


def save_state(engine: Engine) -> LlamaState:
    """What the memory holds of the text that ran last."""
    from llama_bind.core.state import save_seq_state

    def save(runner: Runner) -> LlamaState:
        slot, tokens = engine.remembered()
        return LlamaState(tuple(tokens), save_seq_state(runner.context, slot))

    return engine.call(save)


def load_state(engine: Engine, state: LlamaState) -> None:
    """Put a saved text back.

    Raises:
        StateError: it belongs to another model or context, or is damaged; or every sequence runs right now.
    """
    from llama_bind.core.state import load_seq_state

    def load(runner: Runner) -> None:
        slot = engine.free_slot()
        if slot is None:
            raise StateError("every sequence is running; load a state when one has ended")
        engine.restore(slot, [])
        load_seq_state(runner.context, state.data, slot)
        if runner.context.memory.seq_pos_max(slot) + 1 != len(state.tokens):
            runner.context.memory.seq_rm(slot, -1, -1)
            raise StateError("the state's tokens are not those that its memory was made from")
        engine.restore(slot, list(state.tokens))

    engine.call(load)
