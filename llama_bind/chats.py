"""Chat messages to token ids for one model: its template or format, its control tokens, its BOS.

Not for: rendering (``chat``), running (``engine``), or the shape of results.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from llama_bind.params import ChatParams, LlamaParams

if TYPE_CHECKING:
    from llama_bind.chat.plan import ChatPlan
    from llama_bind.chat.prompt import ChatSource
    from llama_bind.chat.segments import ControlTexts
    from llama_bind.core.model import Model
    from llama_bind.prompts import PromptReader

__all__ = ["ChatReader", "Conversation"]

_NAMED = "tokenizer.chat_template."
"""Metadata keys of further templates begin so."""


@dataclasses.dataclass(frozen=True)
class Conversation:
    """A conversation as the engine and the reader of its answer need it.

    Attributes:
        tokens: The prompt.
        plan: How the answer is read, and what it must be.
        visible: Control tokens that the reader must see.
    """

    tokens: list[int]
    plan: ChatPlan
    visible: frozenset[int]


class ChatReader:
    """Reads conversations. Nothing is prepared before the first one: many models never chat."""

    def __init__(self, model: Model, prompts: PromptReader, params: LlamaParams) -> None:
        self._model = model
        self._prompts = prompts
        self._params = params
        self._lock = threading.Lock()
        self._prepared: tuple[ChatSource, ControlTexts, dict[str, int]] | None = None

    def read(
        self,
        messages: Sequence[Mapping[str, Any]],
        options: ChatParams,
        *,
        forced: bool = False,
    ) -> Conversation:
        """A conversation, ready to be run.

        Args:
            messages: In OpenAI's shape.
            options: What the request asks for.
            forced: The answer must have a form from its beginning.

        Raises:
            MessageError, TemplateError, InputError: messages, template, or options.
            UnsupportedError: what the template cannot show.
        """
        from llama_bind.chat.plan import plan_chat

        source, controls, known = self._prepare()
        vocab = self._model.vocab
        plan = plan_chat(source, messages, options, add_bos=vocab.add_bos, forced=forced)
        # BOS alone, not all that the vocabulary adds around a text: a conversation that goes on has no EOS.
        tokens = [vocab.bos] if vocab.add_bos and vocab.bos is not None else []
        for piece in plan.prompt.pieces(controls):
            tokens += self._prompts.tokenize(piece.text, False, piece.special)
        visible = frozenset(known[text] for text in plan.markers if text in known)
        return Conversation(tokens or [self._prompts.first()], plan, visible)

    def _prepare(self) -> tuple[ChatSource, ControlTexts, dict[str, int]]:
        with self._lock:
            if self._prepared is None:
                from llama_bind.chat.prompt import choose_source
                from llama_bind.chat.segments import ControlTexts

                vocab = self._model.vocab
                texts = {token: _decoded(vocab.token_to_piece(token, True)) for token in vocab.control_tokens()}
                source = choose_source(
                    self._params.chat_format,
                    self._params.chat_template or self._model.chat_template(),
                    named=self._named(),
                    bos_token=_text_of(texts, vocab.bos),
                    eos_token=_text_of(texts, vocab.eos),
                    control_texts=texts.values(),
                )
                tokens = {text: token for token, text in texts.items()}
                self._prepared = source, ControlTexts(texts.values()), tokens
            return self._prepared

    def _named(self) -> dict[str, str]:
        """The file's further templates, unless the caller brought one in their place."""
        if self._params.chat_template:
            return {}
        return {key[len(_NAMED) :]: text for key, text in self._model.metadata.items() if key.startswith(_NAMED)}


def _decoded(piece: bytes) -> str:
    return piece.decode("utf-8", "replace")


def _text_of(texts: Mapping[int, str], token: int | None) -> str:
    return "" if token is None else texts.get(token, "")
