"""Every module can be imported by itself, in every Python that is supported."""

from __future__ import annotations

import importlib
import pkgutil
import re
import sys

import pytest

import llama_bind

NAMES = [m.name for m in pkgutil.walk_packages(llama_bind.__path__, "llama_bind.") if not m.name.endswith("__main__")]


FRAMEWORKS = [name for name in NAMES if re.fullmatch(r"llama_bind\.integrations\.(?!(?:fields|shared)$)\w+", name)]
"""Modules that import a framework; with it they are imported by ``tests/judges``."""


@pytest.mark.parametrize("name", [name for name in NAMES if name not in FRAMEWORKS])
def test_a_module_imports(name: str) -> None:
    importlib.import_module(name)


@pytest.mark.parametrize("name", FRAMEWORKS)
def test_without_its_framework_a_module_says_what_to_install(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for framework in ("langchain_core", "llama_index", "llm"):
        monkeypatch.setitem(sys.modules, framework, None)
    monkeypatch.delitem(sys.modules, name, raising=False)
    with pytest.raises(ImportError, match=r'pip install "llama-bind\[[a-z-]+\]"'):
        importlib.import_module(name)


def test_all_modules_were_found() -> None:
    assert len(NAMES) > 90


def test_the_public_names_are_there_and_sorted() -> None:
    assert list(llama_bind.__all__) == sorted(llama_bind.__all__)
    for name in llama_bind.__all__:
        assert getattr(llama_bind, name) is not None
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = llama_bind.no_such_name
