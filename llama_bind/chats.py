"""Chat messages to token ids for one model: its template or format, its control tokens, its BOS.

Not for: rendering (``chat``), running (``engine``), or the shape of results.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from llama_bind.params import ChatParams, LlamaParams

if TYPE_CHECKING:
    from llama_bind.chat.prompt import ChatSource
    from llama_bind.chat.segments import ControlTexts
    from llama_bind.core.model import Model
    from llama_bind.prompts import PromptReader

__all__ = ["ChatReader"]


class ChatReader:
    """Reads conversations. Nothing is prepared before the first one: many models never chat."""

    def __init__(self, model: Model, prompts: PromptReader, params: LlamaParams) -> None:
        self._model = model
        self._prompts = prompts
        self._params = params
        self._lock = threading.Lock()
        self._prepared: tuple[ChatSource, ControlTexts] | None = None

    def read(self, messages: Sequence[Mapping[str, Any]], options: ChatParams) -> tuple[list[int], tuple[str, ...]]:
        """Token ids of a conversation, and the stop strings of its format.

        Raises:
            MessageError, TemplateError, InputError: messages, template, or options.
        """
        from llama_bind.chat.prompt import PromptOptions, build_prompt

        source, controls = self._prepare()
        vocab = self._model.vocab
        prompt = build_prompt(
            source,
            messages,
            PromptOptions(
                add_generation_prompt=options.add_generation_prompt,
                continue_final_message=options.continue_final_message,
                template_kwargs=options.chat_template_kwargs or {},
            ),
            add_bos=vocab.add_bos,
        )
        # BOS alone, not all that the vocabulary adds around a text: a conversation that goes on has no EOS.
        tokens = [vocab.bos] if vocab.add_bos and vocab.bos is not None else []
        for piece in prompt.pieces(controls):
            tokens += self._prompts.tokenize(piece.text, False, piece.special)
        return tokens or [self._prompts.first()], prompt.stop

    def _prepare(self) -> tuple[ChatSource, ControlTexts]:
        with self._lock:
            if self._prepared is None:
                from llama_bind.chat.prompt import choose_source
                from llama_bind.chat.segments import ControlTexts

                vocab = self._model.vocab
                texts = {token: _decoded(vocab.token_to_piece(token, True)) for token in vocab.control_tokens()}
                source = choose_source(
                    self._params.chat_format,
                    self._params.chat_template or self._model.chat_template(),
                    bos_token=_text_of(texts, vocab.bos),
                    eos_token=_text_of(texts, vocab.eos),
                    control_texts=texts.values(),
                )
                self._prepared = source, ControlTexts(texts.values())
            return self._prepared


def _decoded(piece: bytes) -> str:
    return piece.decode("utf-8", "replace")


def _text_of(texts: Mapping[int, str], token: int | None) -> str:
    return "" if token is None else texts.get(token, "")
