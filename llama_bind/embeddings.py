"""Calls that give embeddings and ranks: texts and pairs to requests, vectors to results.

Not for: computing (``engine``), pooling (``engine/pooling.py``), or waiting (the facades do).
"""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast

import numpy as np
import numpy.typing as npt

from llama_bind.engine.pooling import POOLING_KINDS, PoolingKind, needs_all_rows, normalized
from llama_bind.engine.request import Request
from llama_bind.errors import ContextOverflowError, DeadlineError, InputError, TokenError, UnsupportedError
from llama_bind.options import build
from llama_bind.params import ContextParams, VectorParams
from llama_bind.types import CreateEmbeddingResponse
from llama_bind.values import FinishEvent

if TYPE_CHECKING:
    from llama_bind.core.model import Model
    from llama_bind.core.vocab import Vocab
    from llama_bind.engine.handle import RequestHandle
    from llama_bind.prompts import PromptReader

__all__ = [
    "FAIR_KEY",
    "Asker",
    "EmbeddingCall",
    "EmbeddingReader",
    "Text",
    "Texts",
    "Truncate",
    "Vector",
    "check_in_time",
    "check_truncate",
    "embedding_options",
    "in_windows",
    "shortened",
]

T = TypeVar("T")
Vector = npt.NDArray[np.float32]
Text = str | bytes | Sequence[int] | npt.NDArray[np.integer[Any]]
"""A text to embed, or its token ids."""
Texts = Sequence[Text]
Truncate = bool | Literal["end", "start", "middle"]
"""What to leave out of a text that is too long: nothing (False: an error), its end (also True), start or middle."""
EncodingFormat = Literal["float", "base64"]

TOO_LONG = "shorten the text, pass truncate=True, or load with a larger n_ctx where the model allows it"


FAIR_KEY = "embeddings"
"""Who asks, for the queue: so that a chat that comes after ten thousand texts takes turns with them."""


@dataclasses.dataclass(frozen=True)
class Asker:
    """Where the texts of a call stand among all that wait, and when they must be there.

    Attributes:
        key: Whose turn it is taken as; never that of the same user's chats, which would wait behind all the texts.
        params: As they were given.
    """

    key: str = FAIR_KEY
    params: VectorParams = dataclasses.field(default_factory=VectorParams)

    @classmethod
    def of(cls, given: Mapping[str, Any], where: str) -> Asker:
        """Raises `UnknownOptionError` and `InputError` for what is no option of `where`, and what it cannot be."""
        params = build(VectorParams, {name: value for name, value in given.items() if value is not None}, where)
        return cls(FAIR_KEY if params.user is None else f"{FAIR_KEY} of {params.user}", params)

    def request(self, prompt: Sequence[int], index: int, pooling: PoolingKind) -> Request:
        """The request for the text at `index` of a call. Only the first must start in time: the others wait for it."""
        return Request(
            prompt=prompt,
            kind="embed",
            pooling=pooling,
            key=self.key,
            request_id=self.params.request_id,
            priority=self.params.priority,
            queue_timeout=None if index else self.params.queue_timeout,
            timeout=self.params.timeout,
        )


ENCODER_SEQUENCES = 64
"""Texts in one step of a model without memory, where they cost nothing but their tokens."""


def embedding_options(model: Model, params: ContextParams) -> tuple[ContextParams, PoolingKind]:
    """The options of a context for embeddings, and how its rows are pooled: as asked, else as the model says, else by
    their mean. Where a text is computed in parts and more than its last row counts, the context does not pool
    (`engine.pooling` does).

    Raises:
        UnsupportedError: rank pooling for a model without a classification head, a kind that is not known, or streams
            for texts that must be seen whole.
    """
    from llama_bind.core.context_params import sees_whole_texts

    own, whole = model.meta_int("pooling_type"), sees_whole_texts(model, params.attention_type)
    wanted = params.pooling_type
    if wanted in ("unspecified", -1):
        wanted = "mean" if own is None else own
    if isinstance(wanted, int):
        if not 0 <= wanted < len(POOLING_KINDS):
            raise UnsupportedError(f"the model file names the unknown pooling type {wanted}; give pooling_type")
        wanted = POOLING_KINDS[wanted]
    pooling = cast(PoolingKind, wanted)
    if pooling == "rank" and not _has_head(model):
        raise UnsupportedError('pooling_type="rank" is for reranking models; this one has no classification head')
    changes: dict[str, Any] = {"pooling_type": pooling if whole or not needs_all_rows(pooling) else "none"}
    if changes["pooling_type"] == "none" and own is None:
        changes["pooling_type"] = "unspecified"  # the same to llama.cpp, but for a warning in its log
    if whole:
        if params.kv_unified is False and params.n_seq_max != 1:
            raise UnsupportedError("texts that are seen whole need kv_unified=True (or unset), or n_seq_max=1")
        changes["kv_unified"] = True  # with streams llama.cpp would divide texts of different lengths
        if params.n_seq_max is None and sees_whole_texts(model):
            changes["n_seq_max"] = ENCODER_SEQUENCES
    return dataclasses.replace(params, **changes), pooling


def _has_head(model: Model) -> bool:
    from llama_bind.core.gguf_reader import read_gguf

    if int(model.metadata.get("split.count", "1")) > len(model.paths):
        return True  # it may be in a file whose name is not known here
    return any(name.startswith("cls.") for path in model.paths for name in read_gguf(path).tensors)


@dataclasses.dataclass(frozen=True)
class EmbeddingCall:
    """Texts ready to be computed, and how their vectors are to look. `one`: a single text was given, not a list."""

    requests: list[Request]
    one: bool
    normalize: bool
    dimensions: int | None
    encoding_format: EncodingFormat

    def vectors(self, computed: Sequence[Vector]) -> list[Vector]:
        """The vectors of the texts, in order."""
        cut = [vector[..., : self.dimensions] for vector in computed]
        # A vector that was cut is one of a smaller model only when it has its length again.
        return [normalized(v) for v in cut] if self.normalize or self.dimensions else cut

    def response(self, computed: Sequence[Vector], model: str) -> CreateEmbeddingResponse:
        """OpenAI's shape."""
        n_tokens = sum(len(request.prompt) for request in self.requests)
        encode = _base64 if self.encoding_format == "base64" else np.ndarray.tolist
        return {
            "object": "list",
            "data": [
                {"object": "embedding", "index": i, "embedding": encode(vector)}
                for i, vector in enumerate(self.vectors(computed))
            ],
            "model": model,
            "usage": {"prompt_tokens": n_tokens, "total_tokens": n_tokens},
        }


class EmbeddingReader:
    """Reads texts for one model.

    Args:
        vocab, prompts: Turn text into tokens.
        pooling: How the rows of a text become its vector.
        width: Numbers in a vector.
        limit: Most tokens of a text.
    """

    def __init__(self, vocab: Vocab, prompts: PromptReader, pooling: PoolingKind, width: int, limit: int) -> None:
        self._vocab = vocab
        self._prompts = prompts
        self.pooling = pooling
        self._width = width
        self.limit = limit

    def read(
        self,
        given: Text | Texts,
        asker: Asker | None = None,
        *,
        normalize: bool = False,
        truncate: Truncate = False,
        dimensions: int | None = None,
        encoding_format: EncodingFormat = "float",
    ) -> EmbeddingCall:
        """Check and tokenize.

        Raises:
            InputError, TokenError, TextEncodingError: not a text, a text without tokens, or an option.
            ContextOverflowError: a text is too long and `truncate` is False.
        """
        check_truncate(truncate)
        asker = asker or Asker()
        _check_dimensions(dimensions, self._width)
        if encoding_format not in ("float", "base64"):
            raise InputError('encoding_format is "float" or "base64"', param="encoding_format")
        if encoding_format == "base64" and self.pooling == "none":
            message = "base64 is for one vector a text; this model was loaded to give one for each token"
            raise InputError(message, param="encoding_format")
        texts, one = _texts(given)
        prompts = [self._prompt(text, None if one else i, truncate) for i, text in enumerate(texts)]
        requests = [asker.request(prompt, i, self.pooling) for i, prompt in enumerate(prompts)]
        return EmbeddingCall(requests, one, normalize, dimensions, encoding_format)

    def _prompt(self, text: Text, index: int | None, truncate: Truncate) -> list[int]:
        tokens = self._tokens(text)
        if not tokens:
            which = "the text" if index is None else f"text {index}"
            raise InputError(f"{which} to embed has no tokens; leave empty texts out", param="input")
        if len(tokens) > self.limit:
            if truncate is False:
                raise ContextOverflowError(len(tokens), self.limit, TOO_LONG)
            tokens = shortened(tokens, self.limit, truncate, *special_ends(tokens, self._vocab))
        return tokens

    def _tokens(self, text: Text) -> list[int]:
        if isinstance(text, (str, bytes)):
            return self._prompts.without_double_bos(self._prompts.tokenize(text, True, True))
        tokens, n_vocab = [int(token) for token in text], self._vocab.n_tokens
        for token in tokens:
            if not 0 <= token < n_vocab:
                raise TokenError(token, n_vocab, param="input")
        return tokens


def _texts(given: Any) -> tuple[list[Text], bool]:
    """The texts of an argument in any of OpenAI's forms, and whether it was one text."""
    if isinstance(given, (str, bytes)):
        return [given], True
    if isinstance(given, np.ndarray):
        given = given.tolist()
    if not isinstance(given, Sequence):
        message = f"input is a text, its token ids, or a list of those, not {type(given).__name__}"
        raise InputError(message, param="input")
    items = [item.tolist() if isinstance(item, np.ndarray) else item for item in given]
    if items and all(isinstance(item, (int, np.integer)) and not isinstance(item, bool) for item in items):
        return [[int(item) for item in items]], True
    for index, item in enumerate(items):
        if not isinstance(item, (str, bytes)) and not _is_ids(item):
            message = f"text {index} to embed is a string or a list of token ids, not {_named(item)}"
            raise InputError(message, param="input")
    return items, False


def _is_ids(item: object) -> bool:
    return isinstance(item, Sequence) and all(
        isinstance(token, (int, np.integer)) and not isinstance(token, bool) for token in item
    )


def _named(item: object) -> str:
    return f"a {type(item).__name__} of other things" if isinstance(item, Sequence) else type(item).__name__


def check_truncate(truncate: object) -> None:
    """Raises `InputError` for what is not a `Truncate`."""
    if not (isinstance(truncate, bool) or truncate in ("end", "start", "middle")):
        raise InputError('truncate is False, True, "end", "start" or "middle"', param="truncate")


def _check_dimensions(dimensions: object, width: int) -> None:
    if dimensions is None:
        return
    if isinstance(dimensions, bool) or not isinstance(dimensions, int) or not 1 <= dimensions <= width:
        message = f"dimensions must be a whole number from 1 to {width}, not {dimensions!r}"
        raise InputError(message, param="dimensions")


def special_ends(tokens: Sequence[int], vocab: Vocab) -> tuple[int, int]:
    """How many tokens at the start and the end are those that the vocabulary puts around a text: CLS, SEP, EOS."""
    ends = [t for t, used in ((vocab.eos, vocab.add_eos), (vocab.sep, vocab.add_sep)) if used and t is not None]
    start = int(bool(tokens) and vocab.add_bos and tokens[0] == vocab.bos)
    return start, int(len(tokens) > start and tokens[-1] in ends)


def shortened(tokens: Sequence[int], limit: int, truncate: Truncate, n_start: int = 0, n_end: int = 0) -> list[int]:
    """At most `limit` tokens of a text. The first `n_start` and the last `n_end` stay where there is room: a model
    that was trained with them around every text needs them, one with last pooling most of all.
    """
    if len(tokens) <= limit:
        return list(tokens)
    if n_start + n_end >= limit:
        n_start = n_end = 0
    room = limit - n_start - n_end
    end = len(tokens) - n_end
    body = tokens[n_start:end]
    if truncate == "start":
        body = body[-room:]
    elif truncate == "middle":
        body = [*body[: room - room // 2], *body[len(body) - room // 2 :]]
    else:
        body = body[:room]
    return [*tokens[:n_start], *body, *tokens[end:]]


def check_in_time(event: object, handles: Sequence[RequestHandle], before: int, total: int) -> None:
    """Whether a call goes on after an event of one of its texts.

    Args:
        event: The event.
        handles: The texts that run.
        before: How many were computed before them.
        total: How many the call has.

    Raises:
        DeadlineError: one of them came to its deadline.
    """
    if isinstance(event, FinishEvent) and event.reason == "deadline":
        raise DeadlineError(before + sum(handle.embedding is not None for handle in handles), total)


def in_windows(items: Sequence[T], size: int | None) -> Iterator[Sequence[T]]:
    """At most `size` at a time: as many as a bounded queue takes."""
    step = max(len(items), 1) if size is None else size
    for start in range(0, len(items), step):
        yield items[start : start + step]


def _base64(vector: Vector) -> str:
    """OpenAI's form: little-endian float32."""
    return base64.b64encode(vector.astype("<f4").tobytes()).decode("ascii")
