"""What a schema's grammar lets through, the schema holds for: judged by the package jsonschema."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from llama_bind.errors import SchemaError
from tests.schema_strategies import in_python, schemas, values
from tests.schema_walks import accepts, matcher_of, walk

SLOW = settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck))

MEMBERS = st.sampled_from(["named", "any"])


def holds(schema: Any, text: str) -> bool:
    return bool(Draft202012Validator(in_python(schema)).is_valid(json.loads(text)))


@SLOW
@given(schemas, st.randoms(use_true_random=False), MEMBERS)
def test_random_texts_are_valid(schema: Any, chance: random.Random, members: Any) -> None:
    try:
        matcher = matcher_of(schema, members=members)
    except SchemaError:
        return
    for _ in range(4):
        text = walk(matcher, chance)
        assert text is None or holds(schema, text), text


@SLOW
@given(schemas, st.lists(values, min_size=1, max_size=6), MEMBERS)
def test_values_that_are_let_through_are_valid(schema: Any, instances: list[Any], members: Any) -> None:
    try:
        matcher = matcher_of(schema, members=members)
    except SchemaError:
        return
    for value in instances:
        text = json.dumps(value, ensure_ascii=False)
        assert not accepts(matcher, text) or holds(schema, text), text


@SLOW
@given(schemas, st.lists(values, min_size=1, max_size=6), MEMBERS)
def test_what_is_contradictory_has_no_values(schema: Any, instances: list[Any], members: Any) -> None:
    """Only a schema that nothing meets is refused for that."""
    try:
        matcher_of(schema, members=members)
    except SchemaError as error:
        if not error.keyword:
            assert not any(holds(schema, json.dumps(value)) for value in instances)


@SLOW
@given(schemas, st.randoms(use_true_random=False), st.sampled_from(["compact", "free"]))
def test_any_whitespace(schema: Any, chance: random.Random, whitespace: Any) -> None:
    try:
        matcher = matcher_of(schema, whitespace=whitespace)
    except SchemaError:
        return
    text = walk(matcher, chance)
    assert text is None or holds(schema, text), text


@SLOW
@given(schemas, st.lists(values, min_size=1, max_size=6), MEMBERS)
def test_not_strict_is_never_narrower(schema: Any, instances: list[Any], members: Any) -> None:
    """What is let through in strict use is let through when a part may be left out, too."""
    try:
        strict = matcher_of(schema, members=members)
        lenient = matcher_of(schema, strict=False, members=members)
    except SchemaError:
        return
    for value in instances:
        text = json.dumps(value, ensure_ascii=False)
        assert accepts(lenient, text) == accepts(strict, text)


def test_most_random_schemas_are_taken() -> None:
    """The tests above would say little if every other schema were refused."""
    taken = refused = 0

    @settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck), database=None, derandomize=True)
    @given(schemas)
    def count(schema: Any) -> None:
        nonlocal taken, refused
        try:
            matcher_of(schema)
            taken += 1
        except SchemaError as error:
            refused += bool(error.keyword)

    count()
    assert taken > 4 * refused > 0


def test_a_grammar_of_another_schema_is_noticed() -> None:
    """The judge of this file can tell."""
    matcher = matcher_of({"type": "integer"})
    text = walk(matcher, random.Random(1))
    assert text is not None
    with pytest.raises(AssertionError):
        assert holds({"type": "string"}, text)
