"""What `Llama` and `AsyncLlama` have in common: looking at the model, and turning text into tokens and back.

Not for: anything that waits for the engine.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llama_bind.cache import LlamaDiskCache, LlamaRAMCache
    from llama_bind.core.model import Model
    from llama_bind.engine.loop import Engine
    from llama_bind.engine.process import EngineProcess
    from llama_bind.engine.slots import SlotState
    from llama_bind.engine.stats import EngineStats
    from llama_bind.engine.store import StoreStats
    from llama_bind.session import Session

__all__ = ["Facade"]


class Facade:
    """Base of the classes that users hold; everything in it is short and safe from any thread."""

    _session: Session

    def __repr__(self) -> str:
        state = "closed" if self._session.closed else self.model.desc
        return f"{type(self).__name__}({self.model_path!r}, {state})"

    def tokenize(self, text: str | bytes, add_bos: bool = True, special: bool = False) -> list[int]:
        """Token ids of a text of any length.

        Args:
            text: Bytes are taken as UTF-8.
            add_bos: Add the special tokens that the model wants around a text (BOS, EOS).
            special: Take the text of control tokens as those tokens; without it they are plain text.

        Raises:
            TextEncodingError: a lone surrogate, or bytes that llama.cpp cannot take.
        """
        return self._session.prompts.tokenize(text, add_bos, special)

    def detokenize(
        self, tokens: Sequence[int], prev_tokens: Sequence[int] | None = None, special: bool = False
    ) -> bytes:
        """The bytes of tokens; `special` shows control tokens. `prev_tokens` come before and are not part of it.

        Raises:
            TokenError: an id outside the vocabulary.
        """
        return self._session.detokenize(tokens, prev_tokens, special)

    @property
    def model_path(self) -> str:
        return self._session.model_path

    @property
    def metadata(self) -> dict[str, str]:
        """The file's metadata, values as text."""
        return self._session.metadata

    def n_ctx(self) -> int:
        """Tokens that one text can have."""
        return self._session.n_ctx

    def n_vocab(self) -> int:
        """Tokens in the vocabulary."""
        return self._session.vocab.n_tokens

    def n_embd(self) -> int:
        """Numbers in an embedding."""
        return self.model.n_embd_out

    def token_bos(self) -> int:
        """The beginning-of-sequence token, -1 if there is none."""
        return _or_minus_one(self._session.vocab.bos)

    def token_eos(self) -> int:
        """The end-of-sequence token, -1 if there is none."""
        return _or_minus_one(self._session.vocab.eos)

    def token_nl(self) -> int:
        """The newline token, -1 if there is none."""
        return _or_minus_one(self._session.vocab.nl)

    @property
    def model(self) -> Model:
        """The core object, for what this class does not offer."""
        return self._session.model

    @property
    def stats(self) -> EngineStats:
        """What the engine has done since it started, and how long it took; a copy.

        Raises:
            ClosedError, UnsupportedError: closed, or loaded with vocab_only.
        """
        return self._session.engine.stats

    @property
    def slots(self) -> list[SlotState]:
        """The requests that run right now, by slot: how far each is, and its `request_id`. Raises as `stats` does."""
        return self._session.started.slots()

    @property
    def cache(self) -> LlamaRAMCache | LlamaDiskCache | None:
        """What `set_cache` was given last."""
        return self._session.cache

    @property
    def cache_stats(self) -> StoreStats:
        """What lies outside the context, in host memory and files; zeros where nothing is kept there."""
        return self._session.started.cache_stats()

    @property
    def engine(self) -> Engine | EngineProcess:
        """The engine that runs the requests.

        Raises:
            ClosedError, UnsupportedError: closed, or loaded with vocab_only.
        """
        return self._session.engine


def _or_minus_one(token: int | None) -> int:
    return -1 if token is None else token
