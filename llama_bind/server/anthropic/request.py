"""A request of Anthropic's Messages API as messages and options of a chat.

What only makes sense on Anthropic's side (cache_control, service_tier, container, betas) means nothing here. Not for:
the answer (``shape``).
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Mapping
from typing import Any

from llama_bind.server.anthropic.checks import as_object, as_text, refused, unsupported
from llama_bind.server.anthropic.messages import read_messages
from llama_bind.server.anthropic.tools import read_choice, read_tools

__all__ = ["Asked", "read_request"]

_OWN_WORDS = ("enable_thinking", "reasoning_effort", "reasoning_budget")
"""Options of the library about thinking, which a body may name as well."""
_TEMPLATE_WORDS = ("enable_thinking", "thinking")
_KINDS = ("enabled", "disabled", "adaptive", "between_tools")
EFFORTS = ("low", "medium", "high", "xhigh", "max")


@dataclasses.dataclass(frozen=True)
class Asked:
    """What a request asks for.

    Attributes:
        messages: In OpenAI's shape.
        options: Those of a chat that the body's own names do not give already.
        show_thinking: Whether thoughts are shown; if not, their blocks are empty.
    """

    messages: list[dict[str, Any]]
    options: dict[str, Any]
    show_thinking: bool = True


def read_request(body: Mapping[str, Any]) -> Asked:
    """Read a body that fits its wire schema.

    Raises:
        ApiError: 400, what cannot be read or is not to be had here.
    """
    given = {name: value for name, value in body.items() if value is not None}
    _check_possible(given)
    options: dict[str, Any] = {}
    if "stop_sequences" in given:
        options["stop"] = _stops(given["stop_sequences"])
    if "tools" in given:
        options["tools"] = read_tools(given["tools"])
    if "tool_choice" in given:
        options.update(read_choice(given["tool_choice"]))
    user = given.get("metadata", {}).get("user_id")
    if user is not None:
        options["user"] = as_text(given["metadata"], "user_id", "metadata")
    form = _form(given)
    if form is not None:
        options["response_format"] = form
    messages = read_messages(given.get("system"), given["messages"])
    options.update(_thinking(given, between_tools=any(m["role"] == "tool" for m in _last_turn(messages))))
    return Asked(messages, options, _is_shown(given.get("thinking", {}).get("display")))


def _check_possible(given: Mapping[str, Any]) -> None:
    """Refuse what would change the meaning of a request if it were passed over."""
    if given.get("mcp_servers"):
        raise unsupported("mcp_servers", "this server calls no others; call them yourself and declare their tools")
    if "thread" in given:  # Anthropic's client knows this error and sends whole conversations from then on
        raise unsupported(
            "thread",
            "this server holds no conversations; send all messages",
            details={"error_code": "thread_unsupported_request", "unsupported": ["thread"]},
        )
    if "compaction" in given:
        raise unsupported("compaction", "this server makes no summaries; ask for one in a message")


def _last_turn(messages: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """What came after the last answer."""
    return itertools.takewhile(lambda message: message["role"] != "assistant", reversed(messages))


def _stops(given: list[str]) -> list[str]:
    for index, stop in enumerate(given):
        if not stop:
            raise refused(f"stop_sequences.{index}", "must not be empty")
    return given


def _form(given: Mapping[str, Any]) -> dict[str, Any] | None:
    """The form of the answer: ``output_config.format``, or the older ``output_format``."""
    where, form = "output_config.format", given.get("output_config", {}).get("format")
    if form is None:
        where, form = "output_format", given.get("output_format")
    if form is None:
        return None
    kind = as_text(as_object(form, where), "type", where)
    if kind != "json_schema":
        raise refused(f"{where}.type", f"must be json_schema, not {kind[:80]!r}")
    schema = dict(as_object(form.get("schema"), f"{where}.schema"))
    return {"type": "json_schema", "json_schema": {"name": "output", "schema": schema, "strict": True}}


def _thinking(given: Mapping[str, Any], *, between_tools: bool) -> dict[str, Any]:
    """Whether, how hard and how long to think. `between_tools`: results of tools have just come.

    Who does not ask for thoughts gets none, as Anthropic has it: clients that were made without them read the first
    block as the answer. A model that cannot be told thinks all the same.
    """
    effort = given.get("output_config", {}).get("effort")
    if effort is not None and effort not in EFFORTS:
        raise refused("output_config.effort", f"must be one of {', '.join(EFFORTS)}")
    thinking = given.get("thinking")
    if thinking is None:
        said = given.get("chat_template_kwargs", {})
        asked = any(name in given for name in _OWN_WORDS) or any(name in said for name in _TEMPLATE_WORDS)
        return {} if asked else {"enable_thinking": False}
    kind = as_text(thinking, "type", "thinking")
    if kind not in _KINDS:
        raise refused("thinking.type", f"must be one of {', '.join(_KINDS)}, not {kind[:80]!r}")
    if kind == "disabled" or (kind == "between_tools" and not between_tools):
        return {"enable_thinking": False}
    options: dict[str, Any] = {"enable_thinking": True}
    if effort is not None:
        options["reasoning_effort"] = effort
    if kind == "enabled":
        options["reasoning_budget"] = _budget(thinking, given.get("max_tokens"))
    return options


def _budget(thinking: Mapping[str, Any], limit: int | None) -> int:
    budget = thinking.get("budget_tokens")
    if budget is None:
        raise refused("thinking.budget_tokens", "is missing", "missing_required_parameter")
    if not isinstance(budget, int) or isinstance(budget, bool) or budget < 1:
        raise refused("thinking.budget_tokens", "must be a whole number from 1 on")
    if limit is not None and budget >= limit:
        raise refused("thinking.budget_tokens", "must be less than max_tokens, or nothing is left for the answer")
    return budget


def _is_shown(display: Any) -> bool:
    if display not in (None, "summarized", "omitted"):
        raise refused("thinking.display", "must be summarized or omitted")
    return bool(display != "omitted")
