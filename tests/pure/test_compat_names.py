"""Every public name of llama-cpp-python is in docs/migration.md, and is there as the page says."""

from __future__ import annotations

import fnmatch
import functools
import importlib
import inspect
import re
from types import ModuleType
from typing import Any

import pytest

from llama_bind.compat import loading
from tests.docs.pages import ROOT

VERDICTS = ("same", "better", "different", "not there")
ROW = re.compile(r"^\| `([^`]+)` \| ([a-z ]+) \| ?(.*?) ?\|$", re.MULTILINE)
LIST = ROOT / "tests" / "compat_names.txt"


@functools.cache
def names() -> tuple[str, ...]:
    lines = LIST.read_text(encoding="utf-8").splitlines()
    return tuple(line for line in lines if line and not line.startswith("#"))


@functools.cache
def rows() -> dict[str, tuple[str, str]]:
    text = (ROOT / "docs" / "migration.md").read_text(encoding="utf-8").partition("## Every name")[2]
    found = {}
    for name, verdict, why in ROW.findall(text):
        assert name not in found, f"{name} has two rows"
        found[name] = (verdict, why)
    return found


@functools.cache
def row_of(name: str) -> str | None:
    """The row about a name: its own, else the longest with a star; one about a member is no row of another's."""
    if name in rows():
        return name
    starred = [row for row in rows() if "*" in row and fnmatch.fnmatchcase(name, row)]
    fitting = [row for row in starred if ("(" in row) == ("(" in name)]
    return max(fitting, key=len, default=None)


def find(name: str) -> Any:
    """What stands for a name; raises AttributeError or ImportError."""
    module_name, _, rest = name.partition(".")
    if module_name == "server":
        part, _, rest = rest.partition(".")
        module_name = f"server.{part}"
    found: Any = importlib.import_module(f"llama_bind.compat.{module_name}")
    for part in rest.split("."):
        if isinstance(found, ModuleType) and not hasattr(found, part) and part in dir(found):
            raise AssertionError(f"{name} is listed and cannot be had")
        found = _member(found, part)
    return found


def _member(owner: Any, name: str) -> Any:
    if isinstance(owner, ModuleType) and name == "LLAMA_MAX_DEVICES":
        return name in dir(owner)  # asking for it opens the library
    if isinstance(owner, type) and hasattr(owner, "_known") and name in owner._known():
        return name
    return getattr(owner, name)


def takes(name: str) -> bool:
    """Whether a call takes an argument; the constructor's are options, or named in a warning."""
    call, argument = name[:-1].split("(")
    if call == "llama.Llama":
        return argument == "model_path" or argument in loading._OURS | loading._OWN | set(loading._WITHOUT_MEANING)
    return argument in inspect.signature(find(call)).parameters


def test_the_list_is_whole() -> None:
    assert len(names()) > 1150
    assert len(set(names())) == len(names())


def test_every_row_is_about_a_name() -> None:
    used = {row_of(name) for name in names()}
    assert sorted(set(rows()) - used, key=str) == []
    assert {verdict for verdict, _ in rows().values()} <= set(VERDICTS)


def test_a_row_that_is_not_plainly_the_same_says_why() -> None:
    silent = [name for name, (verdict, why) in rows().items() if verdict != "same" and not why]
    vision = [name for name in silent if "ChatHandler" in name or name.endswith("Alpha")]
    assert silent == vision  # the first of these says it for all


@pytest.mark.parametrize("module", sorted({name.partition(".")[0] for name in names()}))
def test_every_name_is_as_the_page_says(module: str) -> None:
    wrong = []
    for name in names():
        if name.partition(".")[0] != module:
            continue
        row = row_of(name)
        if row is None:
            wrong.append(f"{name} has no row")
            continue
        verdict = rows()[row][0]
        try:
            there = takes(name) if "(" in name else find(name) is not _NOTHING
        except (AttributeError, ImportError, KeyError):
            there = False
        if there != (verdict != "not there"):
            wrong.append(f"{name} is {'there' if there else 'not there'}, and row {row} says {verdict}")
    assert not wrong, "\n".join(wrong)


_NOTHING = object()


def test_the_package_has_what_its_parts_have() -> None:
    package = importlib.import_module("llama_bind.compat")
    for name in (
        *("Llama", "LlamaGrammar", "LogitsProcessorList", "LlamaRAMCache", "LlamaState", "llama_chat_format"),
        *("llama_vocab_p", "llama_batch_init", "LLAMA_TOKEN_ATTR_CONTROL", "ChatCompletionRequestMessage"),
    ):
        assert getattr(package, name) is not None
        assert name in dir(package)
    assert package.llama_cpp is importlib.import_module("llama_bind.compat.llama_cpp")
    with pytest.raises(AttributeError, match="has no attribute 'llama_nothing'"):
        _ = package.llama_nothing
    with pytest.raises(AttributeError, match="has no attribute 'IntEnum'"):
        _ = package.IntEnum


def test_the_sample_of_vocabulary_types_has_its_numbers() -> None:
    low: Any = importlib.import_module("llama_bind.compat.llama_cpp")
    assert (low.LLAMA_VOCAB_PRE_TYPE_DEFAULT, low.LLAMA_VOCAB_PRE_TYPE_QWEN2) == (0, 11)
    assert low.LLAMA_VOCAB_PRE_TYPE_SEED_CODER == 35
