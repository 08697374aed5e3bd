"""Ranking documents for a query: pairs to requests as llama-server writes them, scores to results.

Not for: embeddings, which have a vector for each text (``embeddings``), or computing (``engine``).
"""

from __future__ import annotations

import dataclasses
import re
import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from llama_bind.chat.segments import ControlTexts, Segment, protect
from llama_bind.embeddings import TOO_LONG, Asker, Truncate, Vector, check_truncate, shortened
from llama_bind.engine.request import Request
from llama_bind.errors import ContextOverflowError, InputError, UnsupportedError
from llama_bind.types import EmbeddingUsage, RerankResponse, RerankResult

if TYPE_CHECKING:
    from llama_bind.core.vocab import Vocab
    from llama_bind.prompts import PromptReader

__all__ = ["Document", "PairReader", "RerankCall"]

Document = str | Mapping[str, Any]
"""A text, or a dict with it under "text"."""

_PLACEHOLDER = re.compile(r"(\{query\}|\{document\})")
_TRIES = 8


@dataclasses.dataclass(frozen=True)
class RerankCall:
    """Pairs ready to be computed."""

    requests: list[Request]
    documents: list[str]
    top_n: int | None
    return_documents: bool

    def response(self, computed: Sequence[Vector], model: str) -> RerankResponse:
        """Jina's shape, which llama-server gives too: best first, equal scores in the order of the documents."""
        scores = [float(scores[0]) for scores in computed]
        results: list[RerankResult] = []
        for index in sorted(range(len(scores)), key=lambda i: -scores[i])[: self.top_n]:
            result: RerankResult = {"index": index, "relevance_score": scores[index]}
            if self.return_documents:
                result["document"] = {"text": self.documents[index]}
            results.append(result)
        n_tokens = sum(len(request.prompt) for request in self.requests)
        usage: EmbeddingUsage = {"prompt_tokens": n_tokens, "total_tokens": n_tokens}
        return {"model": model, "object": "list", "usage": usage, "results": results}


class PairReader:
    """Reads pairs of query and document for one model.

    Args:
        vocab, prompts: Turn text into tokens.
        template: The model's template of that name: text with {query} and {document}; None: the texts are joined.
        limit: Most tokens of a pair.
    """

    def __init__(self, vocab: Vocab, prompts: PromptReader, template: str | None, limit: int) -> None:
        self._vocab = vocab
        self._prompts = prompts
        self._template = None if template is None else _PLACEHOLDER.split(template)
        self._limit = limit
        self._lock = threading.Lock()
        self._controls: ControlTexts | None = None

    def read(
        self,
        query: str,
        documents: Sequence[Document],
        asker: Asker | None = None,
        *,
        top_n: int | None = None,
        return_documents: bool = False,
        truncate: Truncate = False,
    ) -> RerankCall:
        """Check and tokenize. What `truncate` leaves out is part of the document, never of the query.

        Raises:
            InputError: not texts, or an option.
            ContextOverflowError: a pair is too long and `truncate` is False, or the query leaves no room.
            UnsupportedError: nothing tells how this model wants a query and a document joined.
        """
        if not isinstance(query, str):
            raise InputError(f"query is a string, not {type(query).__name__}", param="query")
        if top_n is not None and (isinstance(top_n, bool) or not isinstance(top_n, int) or top_n < 1):
            raise InputError(f"top_n must be a whole number of at least 1, not {top_n!r}", param="top_n")
        check_truncate(truncate)
        asker = asker or Asker()
        texts = _documents(documents)
        write = self._joined if self._template is None else self._filled
        prompts = [write(query, text, truncate) for text in texts]
        requests = [asker.request(prompt, index, "rank") for index, prompt in enumerate(prompts)]
        for index, request in enumerate(requests):
            if not request.prompt:
                raise InputError(f"query and document {index} have no tokens; leave empty ones out", param="documents")
        return RerankCall(requests, texts, top_n, return_documents)

    def _joined(self, query: str, document: str, truncate: Truncate) -> list[int]:
        """[BOS] query [EOS] [SEP] document [EOS], each where the vocabulary adds it."""
        vocab = self._vocab
        end = vocab.eos if vocab.eos is not None else vocab.sep
        if end is None and not vocab.add_sep:
            raise UnsupportedError("this vocabulary has no EOS or SEP token and the file no template named 'rerank'")
        ends = [end] if vocab.add_eos and end is not None else []
        before = [vocab.bos] if vocab.add_bos and vocab.bos is not None else []
        before += self._prompts.tokenize(query, False, False) + ends
        before += [vocab.sep] if vocab.add_sep and vocab.sep is not None else []
        body = self._prompts.tokenize(document, False, False)
        room = self._room(len(before) + len(ends), len(body), truncate)
        return [*before, *shortened(body, room, truncate), *ends]

    def _filled(self, query: str, document: str, truncate: Truncate) -> list[int]:
        """The template with the texts in their places, where their words never become control tokens."""
        tokens = self._write(query, document)
        if len(tokens) <= self._limit:
            return tokens
        body = self._prompts.tokenize(document, False, False)
        keep = len(body)
        for _ in range(_TRIES):  # where a cut text meets the template the count may change by a token or two
            keep = min(keep - 1, self._room(len(tokens) - keep, keep, truncate))
            if keep < 1:
                break
            part = self._vocab.detokenize(shortened(body, keep, truncate), False, False).decode("utf-8", "ignore")
            tokens = self._write(query, part)
            if len(tokens) <= self._limit:
                return tokens
        raise ContextOverflowError(len(tokens), self._limit, "shorten the query")

    def _room(self, n_fixed: int, n_document: int, truncate: Truncate) -> int:
        """Tokens left for the document."""
        if n_fixed + n_document <= self._limit:
            return n_document
        if truncate is False:
            raise ContextOverflowError(n_fixed + n_document, self._limit, TOO_LONG)
        if n_fixed >= self._limit:
            raise ContextOverflowError(n_fixed, self._limit, "shorten the query")
        return self._limit - n_fixed

    def _write(self, query: str, document: str) -> list[int]:
        fills = {"{query}": query, "{document}": document}
        parts = [Segment(fills.get(part, part), part not in fills) for part in self._template or ()]
        tokens: list[int] = []
        for piece in protect([part for part in parts if part.text], self._control_texts()):
            tokens += self._prompts.tokenize(piece.text, False, piece.special)
        return tokens

    def _control_texts(self) -> ControlTexts:
        with self._lock:
            if self._controls is None:
                vocab = self._vocab
                pieces = (vocab.token_to_piece(token, True) for token in vocab.control_tokens())
                self._controls = ControlTexts(piece.decode("utf-8", "replace") for piece in pieces)
            return self._controls


def _documents(given: Sequence[Document]) -> list[str]:
    if isinstance(given, (str, bytes, Mapping)) or not isinstance(given, Sequence):
        raise InputError("documents is a list of strings, or of dicts with a text", param="documents")
    texts: list[str] = []
    for index, item in enumerate(given):
        text = item.get("text") if isinstance(item, Mapping) else item
        if not isinstance(text, str):
            raise InputError(f"document {index} is a string or a dict with a text, not {item!r:.80}", param="documents")
        texts.append(text)
    return texts
