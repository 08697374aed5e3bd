"""Every size, offset, sign, enumerator and constant of the mirror is the C compiler's."""

from __future__ import annotations

import importlib
from typing import Any

from codegen import headers, probe
from codegen.model import Constant, Enum, Record
from codegen.parse import parse
from tests.layout import differences


def mirrored() -> dict[str, Any]:
    names: dict[str, Any] = {}
    for header in headers.HEADERS:
        names.update(vars(importlib.import_module(f"llama_bind.lib.{header.module}")))
    return names


def test_the_compiler_agrees_with_ctypes() -> None:
    mirror = parse()
    values = probe.run(mirror)
    names = mirrored()
    assert differences(values, names) == []
    # Nothing was left out: each struct with fields, enumerator and constant was asked for.
    for item in mirror.items:
        if isinstance(item, Record) and item.fields is not None and not item.nested:
            assert f"sizeof {item.name}" in values
        elif isinstance(item, Enum):
            assert all(f"value {name}" in values for name, _, _ in item.items)
        elif isinstance(item, Constant):
            assert f"value {item.name}" in values
    assert len(values) > 1300


def test_a_wrong_field_would_be_found() -> None:
    mirror = parse()
    values = {"sizeof llama_batch": 1, "offsetof llama_batch.token": 0, "value LLAMA_TOKEN_NULL": 5}
    assert len(differences(values, mirrored())) == 3
    assert any(item.name == "llama_batch" for item in mirror.items)


def test_enumerators_are_the_same_in_module_and_class() -> None:
    names = mirrored()
    for item in parse().items:
        if isinstance(item, Enum):
            for name, value, _ in item.items:
                assert names[name] == value
                assert type(names[name]) is int
                assert getattr(names[item.name], name) == value
