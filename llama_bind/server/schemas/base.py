"""Wire schemas made from the option dataclasses: one definition of names, types, limits and words.

Not for: single endpoints.
"""

from __future__ import annotations

import dataclasses
import functools
import operator
import types
from collections.abc import Collection, Iterable, Mapping
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, create_model

from llama_bind.options import Option, options_of

__all__ = ["FOREIGN", "fields_of", "option_fields", "option_names", "renamed", "request_body", "schema"]

RENAMED: Mapping[str, str] = {
    "max_completion_tokens": "max_tokens",
    "n_predict": "max_tokens",
    "n_cmpl": "n",
    "repeat_last_n": "penalty_last_n",
    "repetition_penalty": "repeat_penalty",
    "typ_p": "typical_p",
    "mirostat": "mirostat_mode",
}
"""Other names of our options: OpenAI's newer ones, llama-server's, vLLM's."""

FOREIGN = frozenset({
    "store", "metadata", "service_tier", "modalities", "audio", "prediction", "verbosity", "safety_identifier",
    "prompt_cache_key", "moderation", "prompt_cache_retention", "web_search_options", "parallel_tool_calls",
    "id_slot", "n_discard", "n_indent", "n_probs", "t_max_predict_ms", "verbose", "top_a",
    "tfs_z", "length_penalty", "use_beam_search", "skip_special_tokens",
})  # fmt: skip
"""Fields of other servers and of OpenAI's that mean nothing here, and are no slips of ours."""

_PLAIN: Mapping[str, Any] = {"int": int, "float": float, "str": str, "bool": bool, "Any": Any}
_ON_THE_WIRE: Mapping[str, Any] = {
    "grammar": str,
    "response_format": dict[str, Any],
    "json_schema": dict[str, Any] | str | bool,
}
"""Options that take any object in Python, and what a client may give: never the name of a type."""


class _Wire(BaseModel):
    # Strict: "5" is not 5, and true is not 1.
    model_config = ConfigDict(strict=True, extra="allow", protected_namespaces=())


def schema(name: str, doc: str, fields: Mapping[str, Any]) -> type[BaseModel]:
    """A schema from fields as `create_model` takes them."""
    quick: dict[str, Any] = {field: (_quick(kind), default) for field, (kind, default) in fields.items()}
    made: type[BaseModel] = create_model(name, __base__=_Wire, __doc__=doc, **quick)
    return made


def _quick(kind: Any) -> Any:
    """A type whose lists are refused at their first wrong item: to tell of all takes microseconds for each."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Annotated:
        parts = (_quick(inner[0]), *inner[1:])
        return Annotated[parts]
    if origin in (Union, types.UnionType):
        return Union[tuple(_quick(one) for one in inner)]  # noqa: UP007  # of types that are computed
    if origin is list:
        return Annotated[list[_quick(inner[0])], Field(fail_fast=True)]  # type: ignore[misc]
    if origin is dict:
        return dict[inner[0], _quick(inner[1])]  # type: ignore[misc, valid-type]
    return kind


def fields_of(model: type[BaseModel]) -> frozenset[str]:
    """The names that a schema knows."""
    return frozenset(model.model_fields)


def option_names(classes: Iterable[type[Any]], without: Collection[str] = ()) -> frozenset[str]:
    """The options that a request may give."""
    return frozenset(option_fields(classes, without))


def option_fields(classes: Iterable[type[Any]], without: Collection[str] = ()) -> dict[str, Any]:
    """Fields for the options of dataclasses, all optional. What only Python can give (functions, paths,
    objects of any kind) is left out.
    """
    found: dict[str, Any] = {}
    for cls in classes:
        kinds = {f.name: str(f.type) for f in dataclasses.fields(cls)}
        for name, entry in options_of(cls).items():
            kind = _ON_THE_WIRE.get(name) or (None if kinds[name] == "Any" else _wire(kinds[name], entry))
            if kind is not None and name not in without and name not in found:
                found[name] = (kind | None, Field(None, description=entry.doc))
    return found


def _wire(kind: str, entry: Option) -> Any:
    """The type of a field from an annotation as text; None where JSON has none."""
    parts = [made for part in _split(kind) if (made := _part(part, entry)) is not None]
    return functools.reduce(operator.or_, parts) if parts else None


def _part(part: str, entry: Option) -> Any:
    name, _, inner = part.partition("[")
    inner = inner.removesuffix("]")
    if entry.choices and part in ("str", "int", "bool"):
        allowed = tuple(c for c in entry.choices if type(c).__name__ == part)
        return Union[Literal[allowed]] if allowed else None  # noqa: UP007  # mypy takes no computed Literal
    if part in ("int", "float") and (entry.low, entry.high, entry.above) != (None, None, None):
        return Annotated[_PLAIN[part], Field(ge=entry.low, le=entry.high, gt=entry.above)]
    if part in _PLAIN:
        return _PLAIN[part]
    if name == "Sequence":
        item = _wire(inner, Option(""))
        return None if item is None else list[item]  # type: ignore[valid-type]
    if name == "Mapping":
        value = _wire(_split(inner, ",")[1], Option(""))
        return None if value is None else dict[str, value]  # type: ignore[valid-type]
    return None


def _split(text: str, separator: str = "|") -> list[str]:
    """Divide an annotation at separators that are in no brackets."""
    parts, depth = [""], 0
    for character in text:
        depth += (character == "[") - (character == "]")
        if character == separator and not depth:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts]


def renamed(value: dict[str, Any]) -> dict[str, Any]:
    """A body with our names where it has others; ours win where both are there."""
    for theirs, ours in RENAMED.items():
        if theirs in value and value.get(ours) is None:
            value[ours] = value.pop(theirs)
    return value


def request_body(model: type[BaseModel]) -> dict[str, Any]:
    """What /openapi.json says of a body that a route reads by itself."""
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": model.model_json_schema()}}}}
