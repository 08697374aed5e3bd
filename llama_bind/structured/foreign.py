"""Types that pydantic knows: models, its own types, and annotations with its constraints.

pydantic is never needed and never imported by itself: only a type that comes from it leads here. Not for: other types.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Mapping
from typing import Any

from llama_bind.errors import InputError
from llama_bind.structured.shapes import Foreign

__all__ = ["ForeignError", "is_note", "is_type", "shape"]

_HOMES = ("pydantic", "pydantic_core", "annotated_types")


class ForeignError(ValueError):
    """A value does not fit. `problems`: (path, words) each, a path being keys and indices."""

    def __init__(self, problems: list[tuple[tuple[str | int, ...], str]]) -> None:
        super().__init__(problems)
        self.problems = problems


def is_type(cls: type) -> bool:
    """Whether pydantic reads and writes this class by rules of its own."""
    return "pydantic" in sys.modules and (
        hasattr(cls, "__get_pydantic_core_schema__") or "__pydantic_core_schema__" in cls.__dict__
    )


def is_note(note: Any) -> bool:
    """Whether something inside of ``Annotated`` is pydantic's, or a constraint that pydantic knows."""
    return type(note).__module__.split(".")[0] in _HOMES or hasattr(note, "__get_pydantic_core_schema__")


def shape(hint: Any, where: str) -> Foreign:
    """The shape of such a type.

    Raises:
        InputError: pydantic is not installed, or finds no JSON for it.
    """
    try:
        import pydantic
    except ImportError:
        raise InputError(f"{where}: the constraints of {hint} need pydantic: pip install pydantic") from None
    try:
        adapter: pydantic.TypeAdapter[Any] = pydantic.TypeAdapter(hint)
        schema = adapter.json_schema(ref_template="#/$defs/{model}", schema_generator=_generator())
    except (pydantic.errors.PydanticUserError, NameError) as error:
        raise InputError(f"{where}: pydantic has no JSON schema for {hint}: {error}") from error

    def read(text: str) -> Any:
        try:
            return adapter.validate_json(text)
        except pydantic.ValidationError as error:
            found = [(tuple(e["loc"]), e["msg"]) for e in error.errors(include_url=False, include_context=False)]
            raise ForeignError(found) from None

    return Foreign(lambda: schema, read)


@functools.cache
def _generator() -> Any:
    from pydantic.json_schema import GenerateJsonSchema

    class Generator(GenerateJsonSchema):
        """No titles made of field names, and no keys in objects that nobody would read."""

        def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002
            return False

        def model_schema(self, schema: Any) -> dict[str, Any]:
            return _closed(super().model_schema(schema))

        def dataclass_schema(self, schema: Any) -> dict[str, Any]:
            return _closed(super().dataclass_schema(schema))

        def typed_dict_schema(self, schema: Any) -> dict[str, Any]:
            return _closed(super().typed_dict_schema(schema))

    return Generator


def _closed(schema: Mapping[str, Any]) -> dict[str, Any]:
    if "properties" in schema and "additionalProperties" not in schema:
        return {**schema, "additionalProperties": False}
    return dict(schema)
