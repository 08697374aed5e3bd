"""Guesses by the model's own multi-token-prediction layers, for all sequences of an engine at once.

After every decode of the main context the layers see its tokens, each with the hidden state of the token before; to
guess they go on from the last state, each guess with the state that the layers themselves gave (the loop of
``common_speculative_impl_draft_mtp`` in llama.cpp's common/speculative.cpp). Of several such layers only the first is
used, over and over. Where a prefix came out of a cache, whose states nobody kept, the layers see only what follows:
their guesses are poorer there, nothing else. Not for: checking guesses (drawing).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from llama_bind.core.context import Context
from llama_bind.core.nextn import StateBatch, create_nextn_context, nextn_params, state_of, states_of
from llama_bind.engine.draft import likeliest
from llama_bind.engine.guessing import Wanted
from llama_bind.engine.scheduler import Chunk, StepPlan
from llama_bind.errors import ContextError, NoCellsError, UnsupportedError

__all__ = ["MtpDrafter"]

Tokens = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float32]

_logger = logging.getLogger("llama_bind")


class _Seen:
    """What the layers' memory holds of one slot.

    Attributes:
        tokens: The tokens from the text's start; the memory may lack the first ones.
        first: Position of the first of `states`.
        states: The main model's hidden states of the last tokens that it computed.
    """

    def __init__(self, tokens: Tokens, first: int, states: Floats) -> None:
        self.tokens = tokens
        self.first = first
        self.states = states

    def state(self, position: int) -> Floats | None:
        """The hidden state at a position, None where it is not known any more."""
        i = position - self.first
        return self.states[i] if 0 <= i < len(self.states) else None


class MtpDrafter:
    """A drafter (see `guessing.Drafter`) that is told of every step (`observe`). Given up, with one warning, when it
    fails.

    Args:
        target: The main context, whose decodes give hidden states of all tokens (`nextn.send_states`).
        min_p: Stop guessing where the likeliest token's probability is below this.

    Raises:
        UnsupportedError: a model without such layers.
        ContextError: no context can be made for them.
    """

    def __init__(self, target: Context, min_p: float = 0.0) -> None:
        model = target.model
        if model.n_layer_nextn < 1:
            raise UnsupportedError(
                "draft_model='mtp' needs a model with multi-token-prediction layers (metadata nextn_predict_layers); "
                "this one has none"
            )
        try:
            self.context = create_nextn_context(
                model, nextn_params(target.params, n_ctx=target.n_ctx, kv_unified=target.kv_unified)
            )
        except ContextError as error:
            raise ContextError(f"no context for the multi-token-prediction layers: {error}") from error
        self.failure: Exception | None = None
        self._eog = model.vocab.eog_tokens
        self._min_p = min_p
        self._width = model.n_embd_out
        self._batch = StateBatch(self.context.n_batch, self._width)
        self._seen: dict[int, _Seen] = {}

    def close(self) -> None:
        """Free the context."""
        self.context.close()

    def observe(self, plan: StepPlan, target: Context) -> None:
        """Let the layers see what `target` has just computed."""
        if self.failure is not None or plan.embed:
            return
        try:
            self._observe(plan.chunks, states_of(target, plan.n_tokens))
        except Exception as error:
            self._give_up(error)

    def propose(self, wanted: Sequence[Wanted]) -> dict[int, tuple[int, ...]]:
        """Guesses by slot; none for sequences that have just started over."""
        if self.failure is not None:
            return {}
        try:
            return self._guess(wanted)
        except Exception as error:
            self._give_up(error)
            return {}

    def _give_up(self, error: Exception) -> None:
        self.failure = error
        _logger.warning("the multi-token-prediction layers failed and are not used any more: %s", error)

    def _observe(self, chunks: Sequence[Chunk], states: Floats) -> None:
        batch, row = self._batch, 0
        batch.clear()
        for chunk in chunks:
            slot, start = chunk.sequence.slot, chunk.start
            n_known = chunk.count - len(chunk.draft)
            text = np.append(chunk.sequence.tokens[: start + n_known], np.array(chunk.draft, np.int32))
            rows = states[row : row + chunk.count]
            before = self._cut(slot, text[:start])
            batch.extend(text[start:], start, slot)
            batch.states[row] = 0 if before is None else before
            batch.states[row + 1 : row + chunk.count] = rows[:-1]
            self._seen[slot] = _Seen(text, start, rows)
            row += chunk.count
        self._decode([chunk.sequence.slot for chunk in chunks])

    def _decode(self, slots: list[int]) -> bool:
        """Compute the batch; False when there is no room for it: what `slots` held is forgotten then."""
        for keep in (slots, ()):
            try:
                self.context.decode(self._batch)
                return True
            except NoCellsError:
                for slot in set(self._seen) - set(keep):  # first of sequences that are not computed now, then of all
                    self.context.memory.seq_rm(slot, -1, -1)
                    del self._seen[slot]
        return False

    def _cut(self, slot: int, text: Tokens) -> Floats | None:
        """Make the slot's memory end where `text` does; gives the hidden state at its end where that is known."""
        seen = self._seen.get(slot)
        n = len(text)
        if n and seen is not None and len(seen.tokens) >= n and np.array_equal(seen.tokens[:n], text):
            if len(seen.tokens) > n:
                self.context.memory.seq_rm(slot, n, -1)
                seen.tokens = seen.tokens[:n]
            return seen.state(n - 1)
        self.context.memory.seq_rm(slot, -1, -1)
        return None

    def _guess(self, wanted: Sequence[Wanted]) -> dict[int, tuple[int, ...]]:
        guesses: dict[int, list[int]] = {}
        going: list[tuple[Wanted, int, Floats]] = []
        for w in wanted:
            state = self._cut(w.slot, w.tokens[:-1]) if w.slot in self._seen else None
            if state is None:
                self._seen.pop(w.slot, None)
            else:
                going.append((w, int(w.tokens[-1]), state))
        asked = [w for w, _, _ in going]
        while going:
            self._batch.clear()
            for w, token, state in going:
                position = len(w.tokens) - 1 + len(guesses.get(w.slot, ()))
                i = self._batch.append(token, position, w.slot, True)
                self._batch.states[i] = state
            if not self._decode([w.slot for w, _, _ in going]):
                return {}
            further = []
            for i, (w, _, _) in enumerate(going):
                guess = likeliest(self.context.logits(i), self._min_p, self._eog)
                if guess is not None:
                    found = guesses.setdefault(w.slot, [])
                    found.append(guess)
                    if len(found) < w.most:
                        further.append((w, guess, state_of(self.context, i)))
            going = further
        for w in asked:  # the layers see these tokens again with the main model's states
            self.context.memory.seq_rm(w.slot, len(w.tokens) - 1, -1)
        return {slot: tuple(found) for slot, found in guesses.items()}
