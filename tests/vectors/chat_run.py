"""Runs llama.cpp's cases about reading answers through our own reading, and says how far both agree.

What is fair, and so how it is compared:

- Text and reasoning: without the white space at both ends, as llama.cpp's own test does it.
- Calls: number, order and names; ids where the case expects one (llama.cpp leaves out the ids that ours makes up).
- Arguments of a complete output: equal as JSON values, members in the same order, since only white space differs.
- Arguments of a cut output: llama.cpp compares none (they are no JSON, and its test takes that for equal). Here they
  must be, white space between the tokens aside, what the case expects, character for character.
- A continued message: llama.cpp's answer begins with what was continued, ours holds what is new. The continued text is
  taken off the expectation.
- Every output is read whole, character by character, and in pieces of random size: the events must come to the same.

Not for: prompts (their own tests), and nothing here knows a format.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import random
import re
from collections.abc import Iterable
from typing import Any

from llama_bind.chat.events import OutputEvent, ReasoningDelta, TextDelta, ToolCallArguments, ToolCallEnd, ToolCallStart
from llama_bind.chat.plan import ChatPlan, plan_chat
from llama_bind.chat.prompt import ChatSource, choose_source
from llama_bind.params import ChatParams
from tests.vectors.chat_cases import ChatCase

__all__ = ["Answer", "differences", "plan_for", "read_case", "run_case"]


@dataclasses.dataclass
class Call:
    """A call as it was delivered; `ended` tells whether it was complete."""

    name: str
    id: str
    arguments: str = ""
    ended: bool = False


@dataclasses.dataclass
class Answer:
    """What a consumer of the events has at the end."""

    content: str = ""
    reasoning: str = ""
    calls: list[Call] = dataclasses.field(default_factory=list)

    def take(self, events: Iterable[OutputEvent]) -> None:
        """Apply more events; what may not come is an `AssertionError`."""
        for event in events:
            if isinstance(event, TextDelta):
                self.content += event.text
            elif isinstance(event, ReasoningDelta):
                self.reasoning += event.text
            elif isinstance(event, ToolCallStart):
                assert event.index == len(self.calls), event
                self.calls.append(Call(event.name, event.id))
            elif isinstance(event, ToolCallArguments):
                call = self.calls[event.index]
                assert event.index == len(self.calls) - 1, event
                assert not call.ended, event
                call.arguments += event.text
            elif isinstance(event, ToolCallEnd):
                self.calls[event.index].ended = True

    def without_ids(self) -> tuple[Any, ...]:
        """To compare two readings: ids that the parser made up differ."""
        return self.content, self.reasoning, [(call.name, call.arguments, call.ended) for call in self.calls]


def plan_for(case: ChatCase) -> ChatPlan:
    """The plan of a request of this kind: prompt and reading, from the template alone."""
    options = ChatParams(
        tools=list(case.tools) or None,
        tool_choice=case.tool_choice if case.tools else None,
        # The cases are about reading: where one expects two calls it must not matter what the template can show.
        parallel_tool_calls=True if case.tools else None,
        # llama.cpp tells it to templates that know the word, and to no others.
        enable_thinking=case.thinking if "enable_thinking" in case.source or not case.thinking else None,
        reasoning_format=case.reasoning_format,
        continue_final_message=True if case.continues != "none" else None,
        add_generation_prompt=case.generation_prompt,
    )
    return plan_chat(_source(case.source), case.messages, options)


@functools.cache
def _source(template: str) -> ChatSource:
    return choose_source(None, template, bos_token="<s>", eos_token="</s>")


def read_case(case: ChatCase, pieces: Iterable[str], plan: ChatPlan | None = None) -> Answer:
    """Read the case's text, cut into `pieces`; `plan` as `plan_for` makes it."""
    plan = plan or plan_for(case)
    router, answer = plan.reader(json_text=bool(case.schema)), Answer()
    for piece in pieces:
        answer.take(router.feed(piece))
    answer.take(router.finish())
    return answer


def run_case(case: ChatCase) -> list[str]:
    """What differs from the expectation, or between the ways to cut the text; nothing for a case that passes."""
    try:
        plan = plan_for(case)
        whole = read_case(case, [case.text], plan)
        found = differences(case, whole)
        generator = random.Random(case.line)
        for how, pieces in (
            ("character by character", list(case.text)),
            ("in random pieces", _random_pieces(case.text, generator)),
        ):
            cut = read_case(case, pieces, plan)
            if cut.without_ids() != whole.without_ids():
                found.append(f"{how}: {cut.without_ids()!r}, whole: {whole.without_ids()!r}")
    except Exception as error:
        return [f"raised {error!r}"]
    return found


def _random_pieces(text: str, generator: random.Random) -> list[str]:
    found, at = [], 0
    while at < len(text):
        size = generator.choice((1, 2, 3, 5, 8, 20))
        found.append(text[at : at + size])
        at += size
    return found


def differences(case: ChatCase, answer: Answer) -> list[str]:
    """How an answer differs from what the case expects; see the module for what counts."""
    found = []
    content, reasoning = case.content, case.reasoning
    if case.continues != "none":
        last = case.messages[-1]
        content = content.removeprefix(last["content"])
        reasoning = reasoning.removeprefix(last.get("reasoning_content", ""))
    for name, expected, got in (("content", content, answer.content), ("reasoning", reasoning, answer.reasoning)):
        if expected.strip() != got.strip():
            found.append(f"{name}: {got!r}, expected {expected!r}")
    names = [name for name, _, _ in case.calls]
    if names != [call.name for call in answer.calls]:
        return [*found, f"calls: {[(call.name, call.arguments) for call in answer.calls]!r}, expected {names!r}"]
    for (name, arguments, call_id), call in zip(case.calls, answer.calls, strict=True):
        if call_id and call_id != call.id:
            found.append(f"id of {name}: {call.id!r}, expected {call_id!r}")
        if not _same_arguments(arguments, call.arguments, cut=case.partial):
            found.append(f"arguments of {name}: {call.arguments!r}, expected {arguments!r}")
    return found


_TOKENS = re.compile(r'"(?:[^"\\]|\\.)*(?:"|\Z)|[^\s"]+|\s+', re.DOTALL)


def _same_arguments(expected: str, got: str, *, cut: bool) -> bool:
    if cut:
        return _compact(expected) == _compact(got)
    try:
        return bool(_ordered(expected) == _ordered(got))
    except ValueError:
        return False


def _ordered(text: str) -> Any:
    return json.loads(text, object_pairs_hook=lambda pairs: ["an object", *pairs])


def _compact(text: str) -> str:
    """Without white space outside strings."""
    return "".join(token for token in _TOKENS.findall(text) if not token.isspace())
