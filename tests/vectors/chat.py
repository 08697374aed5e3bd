"""llama.cpp's own cases about chat templates, read from the vendored tree."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.vectors.cpp_calls import Call, Name, braces, calls

LLAMA_CPP = Path(__file__).parents[2] / "vendor" / "llama.cpp"
CHAT_TEST = LLAMA_CPP / "tests" / "test-chat-template.cpp"
JINJA_TEST = LLAMA_CPP / "tests" / "test-jinja.cpp"
TEMPLATES = sorted((LLAMA_CPP / "models" / "templates").glob("*.jinja"))


@dataclass(frozen=True)
class Rendering:
    """A template with the text it makes of the test's conversation."""

    name: str
    template: str
    messages: list[dict[str, str]]
    expected: str
    bos: str
    eos: str


@dataclass(frozen=True)
class Expression:
    """A template about Jinja itself."""

    name: str
    template: str
    variables: dict[str, Any]
    expected: str


def renderings() -> list[Rendering]:
    """The cases that llama.cpp runs with its Jinja engine."""
    conversation = braces(CHAT_TEST, "std::vector<llama_chat_message> conversation {")
    found = []
    for row in braces(CHAT_TEST, "    std::vector<TestCase> test_cases {"):
        values: list[Any] = [value if isinstance(value, list) else _plain(value) for value in row]
        defaults: list[Any] = ["", "", "", "", "", "", True, []]
        name, template, expected, jinja, bos, eos, supported, extra = values + defaults[len(values) :]
        if supported:
            messages = [{"role": role, "content": text} for role, text in [*conversation, *extra]]
            found.append(Rendering(name, template, messages, jinja or expected, bos, eos))
    return found


def expressions() -> list[Expression]:
    """The cases of ``test_template``."""
    found = []
    for _, (_, name, template, variables, expected) in calls(JINJA_TEST, "test_template"):
        values = _plain(variables)
        found.append(Expression(_plain(name), _plain(template), values if values else {}, _plain(expected)))
    return found


def _plain(value: Any) -> Any:
    """nlohmann's rules: a list of pairs that begin with a string is an object."""
    if isinstance(value, Call):
        if value.name == "json::array":
            return [_plain(item) for item in (value.args[0] if value.args else [])]
        if value.name in ("json", "json::object"):
            return _plain(value.args[0]) if value.args else {}
        if value.name in ("U8C", "std::string"):
            return value.args[0]
        raise ValueError(f"a call that is not understood: {value}")
    if isinstance(value, Name):
        return {"true": True, "false": False, "nullptr": None}[value]
    if isinstance(value, list):
        if value and all(isinstance(item, list) and len(item) == 2 and isinstance(item[0], str) for item in value):
            return {key: _plain(item) for key, item in value}
        return [_plain(item) for item in value]
    return value
