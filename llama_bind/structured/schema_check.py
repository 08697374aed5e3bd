"""A result checked against a schema of which a part could not be enforced, with the package jsonschema.

Not for: schemas that are enforced whole; whatever their grammar let through holds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llama_bind.errors import UnsupportedError
from llama_bind.structured.schema_document import read
from llama_bind.structured.typed_values import parse_json

__all__ = ["checker"]

MOST_PROBLEMS = 20


def checker(schema: Any) -> Callable[[str], list[str]]:
    """A function from the JSON text of a result to what about it breaks the schema, a sentence each.

    Raises:
        UnsupportedError: jsonschema is not installed.
        SchemaError: no schema.
    """
    plain = _doubles(read(schema))
    try:
        from jsonschema.exceptions import best_match
        from jsonschema.validators import Draft202012Validator, validator_for
    except ImportError:
        raise UnsupportedError(
            "a part of this schema is checked afterwards, which needs the package jsonschema: "
            'pip install "llama-bind[schema]"; or leave strict on to have such schemas refused'
        ) from None
    validator = validator_for(plain, default=Draft202012Validator)(plain)

    def check(text: str) -> list[str]:
        try:
            value = parse_json(text)
        except ValueError as error:
            return [str(error)]
        problems = []
        for found in validator.iter_errors(value):
            cause = best_match(found.context) if found.context else None
            words = f"{found.message} ({cause.message})" if cause is not None else found.message
            problems.append(f"{found.json_path}: {words}"[:500])
            if len(problems) == MOST_PROBLEMS:
                break
        return problems

    return check


def _doubles(value: Any) -> Any:
    """The schema with its exact decimals as the doubles that instances are made of."""
    if isinstance(value, dict):
        return {key: _doubles(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_doubles(inner) for inner in value]
    return value if value is None or isinstance(value, bool | int | str) else float(value)
