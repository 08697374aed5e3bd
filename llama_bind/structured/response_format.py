"""`response_format` and `json_schema`: what form an answer must have, and how its text becomes a value.

OpenAI's shapes (``text``, ``json_object``, ``json_schema``), schemas as such, and types: pydantic models, dataclasses,
TypedDicts, and whatever else ``annotations.py`` knows. Not for: schemas themselves (``schema.py``).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from llama_bind.errors import InputError, SchemaError
from llama_bind.structured.schema import Formats, Members, Unchecked, Whitespace, compile_schema
from llama_bind.structured.spec import Spec

__all__ = ["Form", "ParsedResult", "parse_result", "read_form", "schema_spec"]

_KINDS = ("text", "json_object", "json_schema")


@dataclasses.dataclass(frozen=True)
class ParsedResult:
    """What a text turned out to be: `value`, or None and `errors`, a sentence each."""

    value: Any = None
    errors: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, eq=False)
class Form:
    """The form of an answer.

    Attributes:
        spec: What holds the output to it.
        unchecked: What of the schema that does not enforce (only without `strict`).
        read: From the text to its value; None where no type was asked for.
        check: From the text to what breaks the schema; None where all of it is enforced.
    """

    spec: Spec
    unchecked: tuple[Unchecked, ...] = ()
    read: Callable[[str], ParsedResult] | None = None
    check: Callable[[str], list[str]] | None = None

    @property
    def parse(self) -> Callable[[str, str], dict[str, Any]] | None:
        """From a choice's text and finish reason to entries of its message: ``parsed``, ``parse_errors``.

        None where nothing would come of it.
        """
        return self._parse if self.read is not None or self.check is not None else None

    def _parse(self, text: str, finish_reason: str) -> dict[str, Any]:
        if finish_reason != "stop":
            words = f"the text was cut off (finish reason {finish_reason})"
            return {**({"parsed": None} if self.read is not None else {}), "parse_errors": [words]}
        errors = self.check(text) if self.check is not None else []
        found: dict[str, Any] = {}
        if self.read is not None:
            result = self.read(text)
            found["parsed"] = None if errors else result.value
            errors += result.errors
        return {**found, "parse_errors": errors} if errors else found


def read_form(
    response_format: Any = None,
    json_schema: Any = None,
    *,
    whitespace: Whitespace = "fixed",
    strict: bool = True,
    formats: Formats = "known",
    members: Members = "named",
) -> Form | None:
    """The form that a call asks for; None for any text.

    Args:
        response_format: A mapping in one of OpenAI's shapes, or a type. ``{"type": "json_object"}`` may carry a
            ``schema``; ``strict`` inside of ``json_schema`` stands before the argument.
        json_schema: A schema, its JSON text, or a type: short for the above.
        whitespace: See `compile_schema`; the others too.
        strict: Whether what cannot be enforced is an error.
        formats: Which formats are enforced.
        members: Whether an object may have members that its schema is silent about.

    Raises:
        InputError: neither a shape nor a type; both arguments at once.
        SchemaError: see `compile_schema`.
        UnsupportedError: a part of the schema must be checked afterwards, and jsonschema is not installed.
    """
    if response_format is not None and json_schema is not None:
        raise InputError(
            "response_format and json_schema both say what the output must be; give one", param="json_schema"
        )
    if response_format is None and json_schema is None:
        return None
    kind, schema, target = "json_schema", json_schema, None
    if isinstance(response_format, Mapping):
        kind, schema, strict = _shape(response_format, strict)
        if kind == "text":
            return None
    elif response_format is not None:
        target = response_format
    if json_schema is not None and not isinstance(json_schema, Mapping | str | bytes | bool):
        target = json_schema
    param = "response_format" if json_schema is None else "json_schema"
    options: Any = {"whitespace": whitespace, "strict": strict, "formats": formats, "members": members}
    return _form(schema, kind, param, **options) if target is None else _typed(target, param, **options)


def _shape(given: Mapping[str, Any], strict: bool) -> tuple[str, Any, bool]:
    """Kind, schema and strictness of one of OpenAI's shapes."""
    kind = given.get("type")
    if kind not in _KINDS:
        hint = (
            "; a schema itself goes into json_schema=" if kind in ("object", "array") or "properties" in given else ""
        )
        raise InputError(
            f"response_format has the type {kind!r}; there are {', '.join(_KINDS)}{hint}", param="response_format"
        )
    if kind == "text":
        return kind, None, strict
    if kind == "json_object":
        return kind, given.get("schema", {"type": "object"}), strict
    inner = given.get("json_schema")
    if isinstance(inner, Mapping) and "schema" in inner:
        own = inner.get("strict")
        if own is not None and not isinstance(own, bool):
            raise InputError("json_schema.strict is true or false", param="response_format")
        return kind, inner["schema"], strict if own is None else own
    if inner is None and "schema" in given:  # as llama.cpp's server has it
        return kind, given["schema"], strict
    raise InputError(
        'response_format of the type json_schema needs {"json_schema": {"name": ..., "schema": {...}}}',
        param="response_format",
    )


def _form(schema: Any, kind: str, param: str, **options: Any) -> Form:
    from llama_bind.structured.schema_check import checker

    try:
        compiled = compile_schema(schema, **options)
        check = checker(schema) if compiled.unchecked else None
    except SchemaError as error:
        error.param = param
        raise
    spec = Spec(compiled.rules, compiled.start, kind="json_object" if kind == "json_object" else "json_schema")
    return Form(spec, compiled.unchecked, check=check)


def _typed(target: Any, param: str, **options: Any) -> Form:
    from llama_bind.structured.typed import schema_of_shape, shape_of

    if callable(getattr(target, "json_schema", None)) and callable(getattr(target, "validate_json", None)):
        schema, read = target.json_schema(), _adapted(target)  # a TypeAdapter of pydantic's
    else:
        try:
            shape = shape_of(target, param)
        except InputError as error:
            error.param = param
            raise
        schema, read = schema_of_shape(shape), lambda text: parse_result(text, shape)
    return dataclasses.replace(_form(schema, "json_schema", param, **options), read=read)


def _adapted(adapter: Any) -> Callable[[str], ParsedResult]:
    def read(text: str) -> ParsedResult:
        try:
            return ParsedResult(adapter.validate_json(text))
        except ValueError as error:
            return ParsedResult(None, (str(error),))

    return read


def parse_result(text: str, target: Any) -> ParsedResult:
    """The value that a text of JSON is, as a type.

    Args:
        text: What a model wrote.
        target: A type, or its shape (`typed.shape_of`).

    Raises:
        InputError: the type has no form in JSON.
    """
    from llama_bind.structured.shapes import Shape
    from llama_bind.structured.typed import shape_of
    from llama_bind.structured.typed_values import parse_json, read_value

    shape = target if isinstance(target, Shape) else shape_of(target)
    try:
        value = parse_json(text)
    except ValueError as error:
        return ParsedResult(None, (str(error),))
    found, problems = read_value(value, shape)
    return ParsedResult(found, tuple(problems))


def schema_spec(
    schema: Any, *, whitespace: Whitespace = "fixed", formats: Formats = "known", members: Members = "named"
) -> Spec:
    """The demand that the output is JSON of a schema, all of it enforced.

    Raises:
        SchemaError: see `compile_schema`.
    """
    compiled = compile_schema(schema, whitespace=whitespace, formats=formats, members=members)
    return Spec(compiled.rules, compiled.start, kind="json_schema")
