"""llama.cpp's cases about reading answers (``test-chat.cpp``): fluent chains, told apart from the C++ around them.

A chain is ``tst.test("...").tools({...}).expect(...).run()``; around it stand objects of a template, constants,
messages put together field by field, and two loops over templates. What is not understood in a chain is a `CppError`.

Not for: what llama.cpp makes of templates and prompts there (its own checks between the chains are passed over), nor
running anything (``chat_run.py``).
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator
from typing import Any

from tests.vectors import LLAMA_CPP
from tests.vectors.cpp_calls import Call, CppError, Name, Reader

__all__ = ["CHAT_CASES", "ChatCase", "chains", "chat_cases"]

CHAT_CASES = LLAMA_CPP / "tests" / "test-chat.cpp"
TEMPLATES = LLAMA_CPP / "models" / "templates"

Message = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class ChatCase:
    """One output of a model and the message that is to be read from it.

    Attributes:
        line: Where the chain begins.
        template: Name of the template's file, without ``.jinja``.
        text: What the model wrote after the prompt.
        content: Expected text.
        reasoning: Expected thoughts.
        calls: Expected calls: (name, text of the arguments, id or "" where any will do).
        partial: Whether the output goes on after `text`.
        tools: Declared tools, in OpenAI's form.
        messages: The conversation before.
        thinking: Whether the model is to think.
        reasoning_format: "none" leaves thoughts in the text; "auto" and "deepseek" are one here.
        tool_choice: "auto", "none" or "required".
        parallel: Whether several calls are allowed.
        schema: JSON Schema of the answer; "" for none.
        generation_prompt: Whether the prompt asks for an answer.
        continues: What of the last message is continued: "none", "content" or "reasoning".
    """

    line: int
    template: str
    text: str
    content: str = ""
    reasoning: str = ""
    calls: tuple[tuple[str, str, str], ...] = ()
    partial: bool = False
    tools: tuple[dict[str, Any], ...] = ()
    messages: tuple[Message, ...] = ({"role": "user", "content": "Hey there!"},)
    thinking: bool = True
    reasoning_format: str = "none"
    tool_choice: str = "auto"
    parallel: bool = False
    schema: str = ""
    generation_prompt: bool = True
    continues: str = "none"

    @property
    def name(self) -> str:
        """Such as "GLM-4.6:4390"."""
        return f"{self.template}:{self.line}"

    @property
    def source(self) -> str:
        """The template."""
        return (TEMPLATES / f"{self.template}.jinja").read_text(encoding="utf-8")


def chains() -> list[int]:
    """The lines of all chains, found without understanding any."""
    source = CHAT_CASES.read_text(encoding="utf-8")
    return [source.count("\n", 0, match.start()) + 1 for match in re.finditer(r"\w\.test\(", source)]


def chat_cases() -> list[ChatCase]:
    """All cases in source order; a chain inside a loop makes one for each turn of it.

    Raises:
        CppError: Something in a chain is not understood.
    """
    return list(_Walk(CHAT_CASES.read_text(encoding="utf-8")).cases())


_STATEMENT = re.compile(
    r"""^[ \t]*(?:
        (?:auto\ (?P<tester>\w+)\ =\ peg_tester\()
      | (?:(?P<chain>\w+)\.test\()
      | (?:(?:static\ |const\ )*(?:std::string|char\ \*|auto|common_chat_msg|common_chat_tool|std::vector<\w+>)\s*
          (?P<variable>\w+)\s*(?P<how>[={;]))
      | (?:(?P<object>\w+)\.(?P<field>role|content|tool_name|tool_call_id)\s*=\s)
      | (?:for\ \(const\ (?:char\ \*|auto\ &)\ (?P<each>\w+)\s*:\s*\{)
      | (?P<shared>test_lfm2_parser)\((?P<argument>\w+)
    )""",
    re.MULTILINE | re.VERBOSE,
)


class _Values(Reader):
    """Values in which names stand for what was defined before."""

    def __init__(self, source: str, position: int, known: dict[str, Any]) -> None:
        self.known = known
        super().__init__(source, position)

    def value(self) -> Any:
        found = self.resolve(self.single())
        while self.kind == "mark" and self.text == "+":
            self.next()
            more = self.resolve(self.single())
            if not (isinstance(found, str) and isinstance(more, str)):
                raise CppError(f"cannot add {more!r} to {found!r}")
            found += more
        return found

    def resolve(self, value: Any) -> Any:
        if isinstance(value, Name):
            if value in ("true", "false"):
                return value == "true"
            if value.startswith("COMMON_"):
                return str(value).rsplit("_", 1)[-1].lower()
            if value not in self.known:
                raise CppError(f"unknown name {value!r}")
            return self.known[value]
        if isinstance(value, Call):
            if value.name not in _MAKERS:
                raise CppError(f"unknown function {value.name!r}")
            return _MAKERS[value.name](*value.args)
        return value


def _message(
    content: str = "", reasoning: str = "", name: str = "", arguments: str = "", call_id: str | list[Any] = ""
) -> Message:
    calls = [[name, arguments, call_id]] if name or call_id else []
    return {"role": "assistant", "content": content, "reasoning_content": reasoning, "calls": calls}


_MAKERS: dict[str, Any] = {
    "simple_assist_msg": _message,
    "message_with_tool_calls": lambda name, arguments: _message("", "", name, arguments),
    "message_with_tool_calls_and_reasoning": lambda name, arguments, why: _message("", why, name, arguments),
    "message_with_content_and_tool_call": lambda content, name, arguments: _message(content, "", name, arguments),
    "message_with_reasoning_and_tool_call": lambda why, name, arguments: _message("", why, name, arguments),
    "message_with_reasoning_content_and_multiple_tool_calls": lambda why, content, calls: {
        **_message(content, why),
        "calls": [[name, arguments, ""] for name, arguments in calls],
    },
}


class _Walk:
    """Goes through the source, keeping what is defined on the way."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.known: dict[str, Any] = {"detailed_debug": False}

    def cases(self) -> Iterator[ChatCase]:
        begin = self.source.index("static void test_template_output_peg_parsers")
        for match in _STATEMENT.finditer(self.source, 0, begin):
            if match["variable"] and not match.group().startswith(" "):
                self._define(match)
        yield from self._block(begin, self._close(begin))

    def _block(self, begin: int, end: int) -> Iterator[ChatCase]:
        position = begin
        while match := _STATEMENT.search(self.source, position, end):
            position = match.end()
            if match["tester"]:
                path = _Values(self.source, match.end(), self.known).items(")")[0]
                self.known[match["tester"]] = path.rsplit("/", 1)[-1].removesuffix(".jinja")
            elif match["chain"]:
                case, position = self._chain(match)
                yield case
            elif match["object"]:
                if isinstance(self.known.get(match["object"]), dict):
                    self.known[match["object"]][match["field"]] = _Values(self.source, position, self.known).value()
            elif match["each"]:
                yield from self._loop(match)
                position = self._close(self._after_list(match))
            elif match["shared"]:
                yield from self._call(match["argument"])
            else:
                self._define(match)

    def _loop(self, match: re.Match[str]) -> Iterator[ChatCase]:
        body = self._after_list(match)
        for value in _Values(self.source, match.end(), self.known).items("}"):
            self.known[match["each"]] = value
            yield from self._block(body, self._close(body))

    def _after_list(self, match: re.Match[str]) -> int:
        reader = _Values(self.source, match.end(), self.known)
        reader.items("}")
        return reader.position

    def _call(self, argument: str) -> Iterator[ChatCase]:
        """The one function of cases that is called with a template's path."""
        begin = self.source.index("static void test_lfm2_parser(")
        self.known["template_path"] = self.known[argument]
        yield from self._block(begin, self._close(begin))

    def _close(self, begin: int) -> int:
        """Where the braces that open after `begin` are closed."""
        reader = Reader(self.source, self.source.index("{", begin))
        depth = 0
        while True:
            if reader.kind == "mark" and reader.text in "{}":
                depth += 1 if reader.text == "{" else -1
                if depth == 0:
                    return reader.position
            reader.next()

    def _define(self, match: re.Match[str]) -> None:
        name = match["variable"]
        if match["how"] == ";":
            self.known[name] = _message()
            return
        try:
            reader = _Values(self.source, match.end(), self.known)
            self.known[name] = reader.items("}") if match["how"] == "{" else reader.value()
        except CppError:
            self.known.pop(name, None)  # of the checks between the chains; a chain that uses it is an error

    def _chain(self, match: re.Match[str]) -> tuple[ChatCase, int]:
        line = self.source.count("\n", 0, match.start("chain")) + 1
        reader = _Values(self.source, match.end(), self.known)
        (text,) = reader.items(")")
        reader.next()
        said: dict[str, Any] = {"line": line, "template": self.known[match["chain"]], "text": text}
        while True:
            if reader.text != ".":
                raise CppError(f"line {line}: expecting a method at {reader.text!r}")
            reader.next()
            method = reader.text
            reader.next()
            reader.next()
            arguments = reader.items(")")
            reader.next()
            if method == "run":
                return ChatCase(**said), reader.position
            try:
                said.update(_METHODS[method](*arguments))
            except (KeyError, TypeError, ValueError) as error:
                raise CppError(f"line {line}: {method} is not understood: {error!r}") from error


def _tool(row: list[str]) -> dict[str, Any]:
    name, description, parameters = row
    function = {"name": name, "description": description, "parameters": json.loads(parameters)}
    return {"type": "function", "function": function}


def _calls(rows: list[list[Any]]) -> tuple[tuple[str, str, str], ...]:
    return tuple((name, arguments, call_id or "") for name, arguments, call_id in rows)


def _conversation(messages: list[Any]) -> tuple[Message, ...]:
    found = []
    for message in messages:
        if isinstance(message, list):  # written field by field: role, content, nothing else that counts
            found.append({"role": message[0], "content": message[1]})
            continue
        said = {key: value for key, value in message.items() if key != "calls" and value}
        said.setdefault("content", "")
        if message["calls"]:
            said["tool_calls"] = [
                {"type": "function", "id": call_id, "function": {"name": name, "arguments": arguments}}
                for name, arguments, call_id in message["calls"]
            ]
        found.append(said)
    return tuple(found)


_METHODS: dict[str, Any] = {
    "reasoning_format": lambda value: {"reasoning_format": value},
    "tools": lambda rows: {"tools": tuple(map(_tool, rows))},
    "enable_thinking": lambda value: {"thinking": value},
    "parallel_tool_calls": lambda value: {"parallel": value},
    "add_generation_prompt": lambda value: {"generation_prompt": value},
    "continue_final_message": lambda value: {"continues": value},
    "json_schema": lambda value: {"schema": value},
    "is_partial": lambda value: {"partial": value},
    "expect_reconstruction": dict,  # of prompts, not of answers
    "expect": lambda message: {
        "content": message["content"],
        "reasoning": message["reasoning_content"],
        "calls": _calls(message["calls"]),
    },
    "expect_content": lambda value: {"content": value},
    "expect_reasoning": lambda value: {"reasoning": value},
    "expect_tool_calls": lambda rows: {"calls": _calls(rows)},
    "tool_choice": lambda value: {"tool_choice": value},
    "messages": lambda rows: {"messages": _conversation(rows)},
}
