"""llama.cpp's own tests of JSON Schemas. Where ours differs, a table says so."""

from __future__ import annotations

import json

import pytest
from jsonschema import Draft202012Validator

from llama_bind.errors import SchemaError
from tests.schema_walks import accepts, matcher_of
from tests.vectors.schemas import CONVERTED, MATCHED, Converted, Matched, converted, matched

NO_SCHEMAS = {
    "string array": "prefixItems is a schema, and must be a list",
    "nullable string array": "the same",
    "array with empty items and prefixItems": "the same",
}
VALID_BUT_REFUSED = {
    ("integration: min 0", "-0"),
    ("llguidance: min 0", "-0"),
    ("integration: min 2", "12345678900000000"),
    ("integration: min+max items", "1"),  # no array: the schema asks for none
}
"""Texts that llama.cpp refuses although the schema holds for them."""
NOT_WHOLE = {"integration: required props": "uniqueItems"}
"""Schemas of which llama.cpp leaves out a keyword."""


@pytest.mark.parametrize("case", converted(), ids=lambda case: case.name)
def test_becomes_a_grammar_or_does_not(case: Converted) -> None:
    if case.works and case.name not in NO_SCHEMAS:
        matcher_of(case.schema)
    else:
        with pytest.raises(SchemaError):
            matcher_of(case.schema)


@pytest.mark.parametrize("case", matched(), ids=lambda case: case.name)
def test_texts(case: Matched) -> None:
    if case.name in NOT_WHOLE:
        with pytest.raises(SchemaError) as caught:
            matcher_of(case.schema)
        assert caught.value.keyword == NOT_WHOLE[case.name]
    matcher = matcher_of(case.schema, whitespace="free", strict=case.name not in NOT_WHOLE)
    validator = Draft202012Validator(json.loads(case.schema))
    for text in case.passing:
        assert accepts(matcher, text), text
    for text in case.failing:
        if (case.name, text) in VALID_BUT_REFUSED:
            assert accepts(matcher, text)
            assert validator.is_valid(json.loads(text))
        else:
            assert not accepts(matcher, text), text


def test_no_case_is_left_out() -> None:
    assert len(converted()) == CONVERTED.read_text(encoding="utf-8").count("\n    test({") > 70
    assert len(matched()) == sum(path.read_text(encoding="utf-8").count("\n    test_schema(") for path in MATCHED) > 60
    names = {case.name for case in matched()}
    assert {name for name, _ in VALID_BUT_REFUSED} | set(NOT_WHOLE) <= names
