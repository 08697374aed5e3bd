"""The half of llama-cpp-python's `Llama` that computes by hand: `eval`, `sample`, `generate`, states, addresses.

Not for: completions, chats and embeddings (``llama``), which run on the engine.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Generator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from llama_bind import llama as ours
from llama_bind.calls import Seeds
from llama_bind.compat._internals import LlamaContext, LlamaModel
from llama_bind.compat.calling import stepping_params
from llama_bind.compat.stepping import LlamaState, Steps
from llama_bind.errors import StateError
from llama_bind.values import LlamaState as Saved

__all__ = ["ByHand"]

LLAMA_DEFAULT_SEED = 0xFFFFFFFF


class ByHand(ours.Llama):
    """A `Llama` of which texts can be computed token by token, beside its engine.

    What `eval` computes with is a context of its own. The text that ran last, by a completion or by `eval`, is the one
    that `eval` goes on with and that `n_tokens` and `save_state` are about.
    """

    def _prepare(self) -> None:
        self._seed = self._session.params.seed
        self._steps: Steps | None = None
        self._steps_lock = threading.RLock()
        self._by_hand = False  # whether the text that was computed last was computed by `eval`

    @property
    def steps(self) -> Steps:
        """What `eval` computes with; made when it is first used."""
        with self._steps_lock:
            if self._steps is None:
                wanted = bool(self._session.params.logits_all)
                self._session.engine  # noqa: B018  # raises where there is no context to compute with
                self._steps = Steps(self._session, wanted)
            return self._steps

    def _current(self) -> Steps:
        """The same, with the text that was computed last."""
        steps = self.steps
        if not self._by_hand:
            self._by_hand = True
            if len(self._remembered()):
                steps.restore(self._session.save_state())
        return steps

    def eval(self, tokens: Sequence[int]) -> None:
        """Compute tokens after the text that was computed last; see `reset`."""
        self._current().eval(tokens)

    def sample(
        self,
        top_k: int = 40,
        top_p: float = 0.95,
        min_p: float = 0.05,
        typical_p: float = 1.0,
        temp: float = 0.8,
        repeat_penalty: float = 1.0,
        frequency_penalty: float = 0.0,
        presence_penalty: float = 0.0,
        tfs_z: float = 1.0,
        mirostat_mode: int = 0,
        mirostat_eta: float = 0.1,
        mirostat_tau: float = 5.0,
        penalize_nl: bool = True,
        logits_processor: Any = None,
        grammar: Any = None,
        idx: int | None = None,
    ) -> int:
        """Choose a token by the logits after the last one that was computed, or after the one at place `idx`."""
        params = stepping_params(self._session.defaults, locals())
        return self._current().sample(params, self._session.seeds.next(None), idx, logits_processor)

    def generate(
        self,
        tokens: Sequence[int],
        top_k: int = 40,
        top_p: float = 0.95,
        min_p: float = 0.05,
        typical_p: float = 1.0,
        temp: float = 0.8,
        repeat_penalty: float = 1.0,
        reset: bool = True,
        frequency_penalty: float = 0.0,
        presence_penalty: float = 0.0,
        tfs_z: float = 1.0,
        mirostat_mode: int = 0,
        mirostat_tau: float = 5.0,
        mirostat_eta: float = 0.1,
        penalize_nl: bool = True,
        logits_processor: Any = None,
        stopping_criteria: Any = None,
        grammar: Any = None,
    ) -> Generator[int, Sequence[int] | None, None]:
        """Yield tokens after a prompt without end, the model's own end among them; see `Steps.generate`."""
        params = stepping_params(self._session.defaults, locals())
        return self._current().generate(
            tokens,
            params,
            self._session.seeds.next(None),
            reset=reset,
            logits_processor=logits_processor,
            stopping_criteria=stopping_criteria,
        )

    def reset(self) -> None:
        """Forget the text: `eval` begins a new one."""
        super().reset()
        self._by_hand = True
        if self._steps is not None:
            self._steps.cut(0)

    @property
    def n_tokens(self) -> int:
        """Tokens of the text that was computed last; lower it to forget the rest."""
        return len(self._input_ids)

    @n_tokens.setter
    def n_tokens(self, count: int) -> None:
        self._current().cut(count)

    @property
    def _input_ids(self) -> npt.NDArray[np.intc]:
        if self._by_hand:
            return np.zeros(0, np.intc) if self._steps is None else self._steps.tokens
        return self._remembered()

    def _remembered(self) -> npt.NDArray[np.intc]:
        """The tokens of the text that the engine ran last."""
        ask = getattr(self.engine, "remembered", None)
        tokens = self._session.save_state().tokens if ask is None else ask()[1]
        return np.array(tokens, np.intc)

    @property
    def input_ids(self) -> npt.NDArray[np.intc]:
        """Its token ids, at the beginning of an array of n_ctx numbers."""
        if self._by_hand and self._steps is not None:
            return self._steps.input_ids
        ids = np.zeros(self.n_ctx(), np.intc)
        known = self._input_ids
        ids[: len(known)] = known
        return ids

    @property
    def scores(self) -> npt.NDArray[np.single]:
        """Logits of the tokens that `eval` computed, with ``logits_all=True``; shape (n_ctx, n_vocab)."""
        return self.steps.scores

    @property
    def _scores(self) -> npt.NDArray[np.single]:
        return self.steps.scores[: self.n_tokens]

    @property
    def eval_tokens(self) -> deque[int]:
        """The token ids of the text that was computed last."""
        return deque(self._input_ids.tolist(), maxlen=self.n_ctx())

    @property
    def eval_logits(self) -> deque[list[float]]:
        """Logits of its tokens, with ``logits_all=True``."""
        return deque(self._scores.tolist(), maxlen=self.n_ctx() if self._session.params.logits_all else 1)

    @property
    def ctx(self) -> int:
        """The address of the ``llama_context`` that `eval` computes with; the engine's is its own."""
        return self.steps.context.ptr

    @property
    def model(self) -> int:  # type: ignore[override]
        """The address of the ``llama_model``."""
        return self._session.model.ptr

    @property
    def _model(self) -> LlamaModel:
        return LlamaModel.of(self._session.model)

    @property
    def _ctx(self) -> LlamaContext:
        return LlamaContext.of(self.steps.context, self._model)

    # -- state -----------------------------------------------------------------------------------------------------

    def set_seed(self, seed: int) -> None:
        """From now on texts take their seeds from this one."""
        self._seed = seed
        self._session.seeds = Seeds(seed)

    def save_state(self) -> LlamaState:  # type: ignore[override]
        """What was computed of the text that ran last, by a completion or by `eval`."""
        seed = LLAMA_DEFAULT_SEED if self._seed is None else self._seed
        if self._by_hand and self._steps is not None:
            ids, data = self._steps.save()
            scores = self._steps.scores[: len(ids) if self._steps.logits_all else 0].copy()
        else:
            saved = self._session.save_state()
            ids, data = np.array(saved.tokens, np.int32), saved.data
            scores = np.zeros((0, self.n_vocab()), np.float32)
        return LlamaState(ids, scores, len(ids), data, len(data), seed)

    def load_state(self, state: LlamaState) -> None:  # type: ignore[override]
        """Put a saved text back: a prompt that begins with it computes only the rest, and `eval` goes on from it.

        Raises:
            StateError: it belongs to another model or context, or is damaged.
        """
        if not isinstance(state, LlamaState):
            raise StateError(f"a state is what save_state() gives, not {type(state).__name__}")
        saved = Saved(tuple(state.input_ids[: state.n_tokens].tolist()), state.llama_state)
        if saved.tokens:
            self._session.load_state(saved)
        self.set_seed(state.seed)
        if self._steps is not None:
            self._steps.restore(saved) if saved.tokens else self._steps.cut(0)
            rows = min(len(state.scores), len(self._steps.scores))
            self._steps.scores[:rows] = state.scores[:rows]
        self._by_hand = self._steps is not None
