"""A model as the fields of a pydantic class, which is what LangChain's and LlamaIndex's classes are.

Not for: anything of a single framework, or the options themselves (``shared``).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, model_validator

from llama_bind.aio import AsyncLlama
from llama_bind.embeddings import Truncate
from llama_bind.errors import LlamaBindError
from llama_bind.integrations.shared import Options, load, told_apart

__all__ = ["EmbedderFields", "ModelFields"]


class ModelFields(BaseModel):
    """A model, and options by name of which the framework knows nothing. The model is loaded when an object is made.

    Raises:
        UnknownOptionError, InputError: An option.
        ModelNotFoundError, ModelLoadError, ...: What `Llama` raises.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, protected_namespaces=())

    model: str | None = Field(
        default=None, description="A file, a known name or a Hugging Face repository; None: the default model."
    )
    llm: Any = Field(
        default=None,
        exclude=True,
        repr=False,
        description="A model that is loaded already, in place of loading one; several objects can share it.",
    )
    options: dict[str, Any] = Field(
        default_factory=dict, description="Everything else that was given: any option of `Llama`."
    )
    _told: Options = PrivateAttr()

    def __init__(self, **given: Any) -> None:
        with _own_errors():
            super().__init__(**given)

    @model_validator(mode="before")
    @classmethod
    def _collect(cls, values: Any) -> Any:
        """What is no field is an option."""
        return _collected(values, cls.model_fields)

    def model_post_init(self, context: Any, /) -> None:
        """Load the model."""
        super().model_post_init(context)
        self._load()

    def _load(self) -> None:
        self._told = told_apart(self.options, type(self).__name__)
        self.llm = load(self.model, self._told.load, self.llm)

    @property
    def _aio(self) -> Any:
        return AsyncLlama.of(self.llm)

    @property
    def _name(self) -> str:
        return self.model or self.llm.model_path


class EmbedderFields(ModelFields):
    """The same with a model that embeds, and how it does it.

    Raises:
        UnknownOptionError, InputError: An option.
        UnsupportedError: `llm` was not loaded for embeddings.
    """

    normalize: bool = Field(default=True, description="Scale vectors to length 1.")
    truncate: Truncate = Field(default=False, description="What to leave out of a text that is too long.")
    query_prefix: str = Field(default="", description="What the model wants before queries.")

    def _load(self) -> None:
        self._told = told_apart(self.options, type(self).__name__, calls=False)
        fresh = {"embedding": True, **self._told.load} if self.llm is None else self._told.load
        self.llm = load(self.model, fresh, self.llm)

    def _vectors(self, texts: Sequence[str]) -> list[list[float]]:
        """Vectors of texts, computed together."""
        return _lists(self.llm.embed(list(texts), normalize=self.normalize, truncate=self.truncate))

    async def _avectors(self, texts: Sequence[str]) -> list[list[float]]:
        """As `_vectors`; occupies no thread while it waits."""
        return _lists(await self._aio.embed(list(texts), normalize=self.normalize, truncate=self.truncate))


def _lists(vectors: Sequence[Any]) -> list[list[float]]:
    return [vector.tolist() for vector in vectors]


def _collected(values: Any, fields: Mapping[str, Any]) -> Any:
    """The arguments of a pydantic class, with all that are none of its fields under ``options``."""
    if not isinstance(values, Mapping):
        return values
    known = {*fields, *(info.alias for info in fields.values() if info.alias)}
    options = {**(values.get("options") or {}), **{k: v for k, v in values.items() if k not in known}}
    return {**{k: v for k, v in values.items() if k in known}, "options": options}


@contextlib.contextmanager
def _own_errors() -> Iterator[None]:
    """Errors of this package that pydantic has wrapped into one of its own, because they are ValueErrors, come out."""
    try:
        yield
    except ValueError as error:
        for detail in getattr(error, "errors", list)():
            cause = detail.get("ctx", {}).get("error")
            if isinstance(cause, LlamaBindError):
                raise cause from None
        raise
