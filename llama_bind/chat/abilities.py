"""What a chat template can show and be told, found by trying it: it says so nowhere.

Each question is asked once for a template, when its answer is first needed. Not for: rendering prompts (``prompt.py``),
or the way in which a model writes its answers (``tools``).
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from llama_bind.chat.messages import check_messages, template_messages
from llama_bind.chat.reasoning import Reasoning, find_reasoning
from llama_bind.errors import TemplateError

if TYPE_CHECKING:
    from llama_bind.chat.templates import ChatTemplate

__all__ = ["EFFORTS", "Abilities", "Switch", "abilities_of"]

_NAME, _KEY, _VALUE, _RESULT, _THOUGHT, _ANSWER = (
    "probe_function", "probe_key", "probe-value", "probe-result", "probe-thought", "probe-answer"
)  # fmt: skip
_TOOL = {
    "type": "function",
    "function": {
        "name": _NAME,
        "description": "Probe.",
        "parameters": {
            "type": "object",
            "properties": {_KEY: {"type": "string", "description": "Probe."}},
            "required": [_KEY],
        },
    },
}
_USER = {"role": "user", "content": "hello"}

_TOOL_VARIABLES = ("tools", "xml_tools", "functions")
_REASONING_NAMES = ("thinking", "reasoning")
_EFFORT_VARIABLES = ("reasoning_effort", "reasoning_strength", "thinking_effort")
EFFORTS = ("minimal", "low", "medium", "high", "xhigh", "max")
"""Degrees of effort, rising."""


class Switch(NamedTuple):
    """A variable of a template by which thinking is turned on and off."""

    name: str
    on: Any
    off: Any


_SWITCHES = (
    Switch("enable_thinking", True, False),
    Switch("thinking", True, False),
    Switch("thinking_mode", "enabled", "disabled"),
    Switch("reasoning", True, False),
    Switch("thinking_budget", -1, 0),
    Switch("reasoning_effort", "high", "no_think"),
)

_LAST_TAG = re.compile(r"(<[^<>\s]{1,40}>|\[[^\[\]\s]{1,40}\])\s*\Z")
_FIRST_TAG = re.compile(r"\s*(<[^<>\s]{1,40}>|\[[^\[\]]{1,40}\])")


class Abilities:
    """What one template can do. Renderings for it take milliseconds, each only when a property is first read.

    Args:
        template: The template.
    """

    def __init__(self, template: ChatTemplate) -> None:
        self._template = template

    def _try(
        self, messages: Sequence[Mapping[str, Any]], variables: Mapping[str, Any] | None = None, *, text: bool = False
    ) -> str | None:
        """A rendering, or None where it fails. `text`: arguments of calls are JSON text."""
        template = self._template
        shaped = template_messages(
            check_messages(messages),
            parts=template.takes_parts,
            arguments_as_text=text,
            short_ids=True,
            reasoning_names=self.reasoning_names,
        )
        try:
            return template.render(shaped, **{"functions": "[]", "datetime": "now", **(variables or {})})
        except TemplateError:
            return None

    def _names(self, name: str) -> bool:
        """Whether a caller may give the variable `name`."""
        try:
            return name in self._template.variables
        except TemplateError:
            return False

    # Tools

    @functools.cached_property
    def tools_variable(self) -> str:
        """The variable through which the template shows declared tools; "" where it shows none.

        "message": it shows the JSON text that a system message has as ``tools``.
        """
        for name in _TOOL_VARIABLES:
            if name == "tools" or name in self._template.source:
                shown = self._try([_USER], {name: str([_TOOL]) if name == "functions" else [_TOOL]})
                if shown is not None and _NAME in shown:
                    return name
        shown = self._try([{"role": "system", "content": "", "tools": str([_TOOL])}, _USER])
        return "message" if shown is not None and _NAME in shown else ""

    def _history(self, count: int = 1) -> list[dict[str, Any]]:
        calls = [
            {"id": f"probe000{n}", "type": "function", "function": {"name": _NAME, "arguments": {_KEY: f"{_VALUE}{n}"}}}
            for n in range(count)
        ]
        results = [
            {"role": "tool", "tool_call_id": f"probe000{n}", "name": _NAME, "content": f"{_RESULT}{n}"}
            for n in range(count)
        ]
        return [_USER, {"role": "assistant", "content": "", "tool_calls": calls}, *results]

    @functools.cached_property
    def calls(self) -> Literal["values", "text", ""]:
        """How the template wants the arguments of past calls: as values, as JSON text; "" where it shows no calls."""
        shown = self._try(self._history(), {"tools": [_TOOL]})
        if shown is not None and f"{_VALUE}0" in shown and f"'{_KEY}': '{_VALUE}" not in shown:
            return "values"
        shown = self._try(self._history(), {"tools": [_TOOL]}, text=True)
        return "text" if shown is not None and f'"{_VALUE}0"' in shown else ""

    @functools.cached_property
    def results(self) -> bool:
        """Whether the template knows what tools gave back, and shows it."""
        if not re.search(r"""['"](tool|function|ipython|observation)['"]""", self._template.source):
            return False
        shown = self._try(self._history(), {"tools": [_TOOL]}, text=self.calls == "text")
        return shown is not None and f"{_RESULT}0" in shown

    @functools.cached_property
    def several_calls(self) -> bool:
        """Whether the template shows an answer with several calls."""
        shown = self._try(self._history(2), {"tools": [_TOOL]}, text=self.calls == "text")
        return shown is not None and all(f"{_VALUE}{n}" in shown and f"{_RESULT}{n}" in shown for n in range(2))

    @functools.cached_property
    def short_ids(self) -> bool:
        """Whether the template wants ids of nine letters and digits, as Mistral's do."""
        source = self._template.source
        return "length == 9" in source or "length != 9" in source

    @functools.cached_property
    def example_call(self) -> str:
        """What the template writes for a call of `probe_function`; "" where it shows none."""
        before = self._try([_USER])
        after = self._try(self._history()[:2], {"add_generation_prompt": False}, text=self.calls == "text")
        if not self.calls or before is None or after is None:
            return ""
        return after[len(before) :] if after.startswith(before) else ""

    # Thinking

    @functools.cached_property
    def reasoning_names(self) -> tuple[str, ...]:
        """Names under which the template looks for a message's thoughts, besides ``reasoning_content``."""
        source = self._template.source
        return tuple(name for name in _REASONING_NAMES if re.search(rf"""\.{name}\b|['"]{name}['"]""", source))

    @functools.cached_property
    def switch(self) -> Switch | None:
        """The variable that turns thinking on and off; None where there is none."""
        for switch in _SWITCHES:
            if self._names(switch.name) and (not isinstance(switch.off, str) or switch.off in self._template.source):
                on, off = (self._try([_USER], {switch.name: value}) for value in (switch.on, switch.off))
                if on is not None and off is not None and on != off:
                    return switch
        return None

    @functools.cached_property
    def thinks(self) -> bool:
        """Whether a model whose thinking can be turned on and off thinks when nothing is said."""
        switch = self.switch
        return switch is not None and self._try([_USER]) == self._try([_USER], {switch.name: switch.on})

    @functools.cached_property
    def effort_variables(self) -> tuple[str, ...]:
        """Variables that take how hard the model should think."""
        return tuple(name for name in _EFFORT_VARIABLES if self._names(name))

    def effort(self, wanted: str) -> dict[str, str]:
        """Variables for a degree of effort: the nearest one that the template does not refuse.

        Returns:
            Nothing where the template knows no effort.
        """
        if not self.effort_variables:
            return {}
        source = self._template.source
        if not re.search(f"""['"]{wanted}['"]""", source):
            # Where a template takes any word, its model knows these three.
            wanted = {"minimal": "low", "xhigh": "high", "max": "high"}.get(wanted, wanted)
        place = EFFORTS.index(wanted)
        for near in sorted(EFFORTS, key=lambda one: (abs(EFFORTS.index(one) - place), EFFORTS.index(one) < place)):
            variables = dict.fromkeys(self.effort_variables, near)
            if self._try([_USER], variables) is not None:
                return variables
        return {}

    @functools.cached_property
    def reasoning(self) -> Reasoning | None:
        """The tags of thoughts: known ones that the template names, or what it writes around a thought."""
        source = self._template.source
        known = find_reasoning(source)
        if known is not None and known.opening.rstrip() in source:
            return known
        before, behind = self._around
        opening, closing = _LAST_TAG.search(before), _FIRST_TAG.match(behind)
        if opening is not None and closing is not None and opening[1][1:-1] in closing[1]:
            return Reasoning(opening[1], closing[1])
        return known

    @functools.cached_property
    def _around(self) -> tuple[str, str]:
        """What stands before a thought, and between it and the answer; empty where the template shows none."""
        thinking = {self.switch.name: self.switch.on} if self.switch else {}
        answer = {"role": "assistant", "content": _ANSWER, "reasoning_content": _THOUGHT}
        shown = self._try([_USER, answer], {"add_generation_prompt": False, **thinking}) or ""
        before, thought, behind = shown.partition(_THOUGHT)
        between, answered, _ = behind.partition(_ANSWER)
        return (before, between) if thought and answered else ("", "")

    @property
    def shows_thoughts(self) -> bool:
        """Whether the template shows what the model thought before its last answer."""
        return bool(self._around[0])

    @functools.cached_property
    def block(self) -> Reasoning | None:
        """The markers with the white space that belongs to them: what to write to open a block and to close it."""
        markers = self.reasoning
        if markers is None:
            return None
        before, between = self._around
        place = before.rfind(markers.opening)
        if between.strip().startswith(markers.closing) and place >= 0:
            return Reasoning(before[place:], between)
        space = "\n" if markers.opening.startswith("<think") else ""
        return Reasoning(markers.opening + space, space + markers.closing + 2 * space)


@functools.lru_cache(maxsize=32)
def abilities_of(template: ChatTemplate) -> Abilities:
    """The abilities of a template, kept for the next request."""
    return Abilities(template)
