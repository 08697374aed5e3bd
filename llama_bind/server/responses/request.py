"""A body of the Responses API as options of a chat completion, and as the fields that the response gives back.

Pure. Not for: the input (``items``, ``messages``), limits of the server (``server.requests``), or values that the
library checks.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from llama_bind.server.errors import INVALID, ApiError, api_error
from llama_bind.server.schemas.responses import PASSED

__all__ = ["Asked", "read_request", "retold"]

LOGPROBS = "message.output_text.logprobs"
SEALED = "reasoning.encrypted_content"
_NOT_HERE = {
    "conversation": "there are no conversations here; go on with previous_response_id",
    "prompt": "there are no stored prompts here; give input and instructions",
    "context_management": 'nothing is compacted here; truncation="auto" leaves out the oldest turns',
}
_CHOICES = ("none", "auto", "required")
_GIVEN_BACK = (
    "max_tool_calls", "prompt_cache_key", "prompt_cache_retention", "safety_identifier", "user",
)  # fmt: skip
_OURS_TO_THEIRS = {
    "messages": "input",
    "max_tokens": "max_output_tokens",
    "response_format": "text.format",
    "reasoning_effort": "reasoning.effort",
}


@dataclasses.dataclass(frozen=True)
class Asked:
    """What a request comes to.

    Attributes:
        options: For a chat completion, besides the messages.
        told: Fields of the response that say what was asked for.
        store: Whether the response is kept.
        background: Whether it is generated without the client.
        logprobs: Whether the text's tokens come with log probabilities.
        seal: Whether reasoning comes as `encrypted_content` too.
        truncate: Whether old turns may be left out.
    """

    options: dict[str, Any]
    told: dict[str, Any]
    store: bool
    background: bool
    logprobs: bool
    seal: bool
    truncate: bool


def read_request(body: Mapping[str, Any], *, can_store: bool = True) -> Asked:
    """Read a body whose fields have the types of its schema.

    Args:
        body: Fields by our names.
        can_store: Whether the server keeps responses at all.

    Raises:
        ApiError: 400, what there is not here, or a shape that is wrong; `param` names the field.
    """
    for name, said in _NOT_HERE.items():
        if body.get(name):
            raise _refused(f"{name}: {said}.", name, "unsupported")
    include = body.get("include") or ()
    logprobs = LOGPROBS in include or bool(body.get("top_logprobs"))
    options = {name: body[name] for name in PASSED if body.get(name) is not None}
    most = body.get("max_output_tokens")
    most = body.get("max_tokens") if most is None else most
    reasoning, form = _reasoning(body), _form(body)
    tools, choice = _tools(body.get("tools") or ()), _choice(body.get("tool_choice"))
    found: dict[str, Any] = {
        "max_tokens": most,
        "user": body.get("user") or body.get("safety_identifier"),
        "reasoning_effort": reasoning.get("effort") or options.get("reasoning_effort"),
        "response_format": None if form["type"] == "text" else _response_format(form),
        "tools": [{"type": "function", "function": _without_type(tool)} for tool in tools] or None,
        # Without tools there is nothing to choose; clients send their default all the same.
        "tool_choice": choice if tools or choice not in ("auto", "none") else None,
        "logprobs": logprobs or None,
        "top_logprobs": body.get("top_logprobs") if logprobs else None,
    }
    options.update({name: value for name, value in found.items() if value is not None})
    store, background = _keeping(body, can_store)
    told = {
        **{name: body.get(name) for name in _GIVEN_BACK},
        "background": background,
        "instructions": body.get("instructions"),
        "max_output_tokens": most,
        "metadata": body.get("metadata") or {},
        "parallel_tool_calls": body.get("parallel_tool_calls") is not False,
        "previous_response_id": body.get("previous_response_id"),
        "reasoning": {"effort": found["reasoning_effort"], "summary": None},
        "service_tier": "default",
        "store": store,
        "text": {"format": form, "verbosity": (body.get("text") or {}).get("verbosity") or "medium"},
        "tool_choice": choice or "auto",
        "tools": tools,
        "top_logprobs": body.get("top_logprobs") or 0,
        "truncation": body.get("truncation") or "disabled",
    }
    truncate = told["truncation"] == "auto"
    return Asked(options, told, store, background, logprobs, SEALED in include, truncate)


def _keeping(body: Mapping[str, Any], can_store: bool) -> tuple[bool, bool]:
    """Whether the response is stored, and whether it is generated in the background."""
    wanted, background = body.get("store"), body.get("background") is True
    if wanted and not can_store:
        raise _refused("store: this server keeps no responses (its option max_responses is 0).", "store", "unsupported")
    store = can_store and wanted is not False
    if background and not store:
        raise _refused("background: a response that is not stored could not be fetched.", "background")
    return store, background


def _reasoning(body: Mapping[str, Any]) -> Mapping[str, Any]:
    given: Mapping[str, Any] = body.get("reasoning") or {}
    effort = given.get("effort")
    if effort is not None and not isinstance(effort, str):
        raise _refused("reasoning.effort must be a text.", "reasoning.effort", "invalid_type")
    return given


def _form(body: Mapping[str, Any]) -> dict[str, Any]:
    """`text.format`, complete."""
    given = (body.get("text") or {}).get("format")
    if given is None:
        return {"type": "text"}
    kind = given.get("type") if isinstance(given, Mapping) else None
    if kind not in ("text", "json_object", "json_schema"):
        raise _refused("text.format.type is one of text, json_object and json_schema.", "text.format.type")
    if kind != "json_schema":
        return {"type": kind}
    inner = given.get("json_schema", given)  # some clients have it as chat completions do
    if not isinstance(inner, Mapping) or not isinstance(inner.get("schema"), Mapping):
        raise _refused("text.format.schema must be a JSON Schema.", "text.format.schema")
    name = inner.get("name")
    return {
        "type": "json_schema",
        "name": name if isinstance(name, str) else "schema",
        "description": inner.get("description"),
        "schema": inner["schema"],
        "strict": inner.get("strict"),
    }


def _response_format(form: Mapping[str, Any]) -> dict[str, Any]:
    if form["type"] == "json_object":
        return {"type": "json_object"}
    inner = {key: form[key] for key in ("name", "schema", "strict") if form[key] is not None}
    return {"type": "json_schema", "json_schema": inner}


def _tools(given: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Functions in the shape of the Responses API."""
    found = []
    for place, tool in enumerate(given):
        kind = tool.get("type", "function")
        if kind != "function":
            said = f"tools[{place}]: there are no tools of the type {kind!r:.80} here, only those of the type function."
            raise _refused(said, "tools", "unsupported")
        inner = tool.get("function", tool)  # as chat completions have it
        if not isinstance(inner, Mapping) or not isinstance(inner.get("name"), str):
            raise _refused(f"tools[{place}].name must be a text.", "tools", "missing_required_parameter")
        found.append(
            {
                "type": "function",
                "name": inner["name"],
                "description": inner.get("description"),
                "parameters": inner.get("parameters"),
                "strict": inner.get("strict"),
            }
        )
    return found


def _without_type(tool: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in tool.items() if key != "type" and value is not None}


def _choice(given: Any) -> Any:
    """`tool_choice` in the shape of the Responses API, which the library reads as well."""
    if given is None or (isinstance(given, str) and given in _CHOICES):
        return given
    kind = given.get("type") if isinstance(given, Mapping) else None
    if kind == "function":
        inner = given.get("function", given)
        name = inner.get("name") if isinstance(inner, Mapping) else None
        if not isinstance(name, str):
            raise _refused("tool_choice.name must be the name of a function.", "tool_choice")
        return {"type": "function", "name": name}
    if kind == "allowed_tools":
        inner = given.get("allowed_tools", given)
        tools = inner.get("tools") if isinstance(inner, Mapping) else None
        if not isinstance(tools, list) or not all(isinstance(tool, Mapping) for tool in tools):
            raise _refused("tool_choice.tools must be a list of functions.", "tool_choice")
        for tool in tools:
            if tool.get("type", "function") != "function":
                raise _refused(f"tool_choice: there are no tools of the type {tool['type']!r:.80} here.", "tool_choice")
        return {"type": "allowed_tools", "mode": inner.get("mode", "auto"), "tools": tools}
    if kind is not None:
        raise _refused(f"tool_choice: there are no tools of the type {kind!r:.80} here.", "tool_choice", "unsupported")
    raise _refused(f"tool_choice is one of {', '.join(_CHOICES)}, a function or allowed_tools.", "tool_choice")


def _refused(said: str, param: str, code: str = "invalid_value") -> ApiError:
    return ApiError(400, INVALID, code, said, param=param)


def retold(error: Exception) -> ApiError:
    """An error of a chat completion under the names that the request's fields have here."""
    told = api_error(error)
    told.param = _OURS_TO_THEIRS.get(told.param or "", told.param)
    return told
