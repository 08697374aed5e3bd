"""From a body to the keyword arguments of a call: defaults under it, limits over it, and who asks.

Not for: the calls (routes), or values (the library checks those).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starlette.requests import Request

from llama_bind.server.body import Body
from llama_bind.server.errors import INVALID, ApiError
from llama_bind.server.gate import LEASES, Caller, caller_of
from llama_bind.server.meter import Meter
from llama_bind.server.models import Lease, Models
from llama_bind.server.replies import dumps
from llama_bind.server.service import Service
from llama_bind.server.settings import Settings

if TYPE_CHECKING:
    from llama_bind.aio import AsyncLlama

__all__ = ["call_options", "metered", "model_for", "models_of", "service_of", "settings_of", "wants_stream"]

_FORMS = frozenset({"choice", "functions", "grammar", "json_schema", "lark", "regex", "response_format", "tools"})
_DEADLINES = ("queue_timeout", "first_token_timeout", "timeout")


def models_of(request: Request) -> Models:
    """The models of the app that got the request."""
    models: Models = request.app.state.models
    return models


def service_of(request: Request) -> Service:
    """The model that the request uses; before it has asked for one, the app's default."""
    leases: list[Lease] = request.scope.get(LEASES, [])
    return leases[-1].service if leases else models_of(request).default


async def model_for(request: Request, body: Body) -> AsyncLlama:
    """The model that a body asks for, ready; it stays until the request is over, its stream included.

    Raises:
        ApiError: 404, there is no such model; 503, it cannot be had now.
    """
    lease = await models_of(request).lease(body.value.get("model"))
    request.scope.setdefault(LEASES, []).append(lease)
    return metered(request, lease.service.ready())


def metered(request: Request, llm: AsyncLlama) -> AsyncLlama:
    """The model with the limits on prompts and tokens that hold for a request, where there are any."""
    account, most = caller_of(request.scope).account, settings_of(request).server.max_prompt_tokens
    return llm if account is None and most is None else llm._metered(Meter(account, most))


def settings_of(request: Request) -> Settings:
    """The settings of that app."""
    settings: Settings = request.app.state.settings
    return settings


def call_options(request: Request, body: Body, names: frozenset[str]) -> dict[str, Any]:
    """Keyword arguments for a call.

    Args:
        request: Whose.
        body: What it says.
        names: The options that the call takes.

    Raises:
        ApiError: more than the server gives.
    """
    settings, caller = settings_of(request), caller_of(request.scope)
    given = body.of(names)
    _check_limits(settings, caller, given)
    _check_sizes(settings, body, given)
    defaults = service_of(request).settings.defaults
    options = {**{k: v for k, v in defaults.items() if k in names}, **given}
    for name in _DEADLINES:  # a client may ask for less time than the server gives, not for more
        if name in given and name in defaults:
            options[name] = min(given[name], defaults[name])
    options.update(_place(request))
    if "request_id" in names:
        options.setdefault("request_id", caller.id)
    if "priority" in given:
        options["priority"] = given["priority"]
    if caller.key is not None and settings.server.isolate_keys and "cache_salt" in names:
        options["cache_salt"] = f"{caller.key}:{options.get('cache_salt') or ''}"
    return options


def _place(request: Request) -> dict[str, Any]:
    """The options that say where among those that wait a request stands by its key, whatever it asks for."""
    caller = caller_of(request.scope)
    found: dict[str, Any] = {}
    if caller.key is not None:
        found["user"] = caller.key  # keys take turns, whatever users they speak for
    if caller.limits.priority is not None:
        found["priority"] = caller.limits.priority
    return found


def _check_limits(settings: Settings, caller: Caller, given: dict[str, Any]) -> None:
    server, own = settings.server, caller.limits.priority
    for name, limit in (
        ("n", server.max_n),
        ("best_of", server.max_n),
        ("logprobs", server.max_logprobs),
        ("top_logprobs", server.max_logprobs),
        ("priority", server.max_priority if own is None else own),
    ):
        value = given.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and value > limit:
            message = f"{name} is {value if abs(value) < 1e9 else 'too much'}; this server gives at most {limit}."
            raise ApiError(400, INVALID, "limit_exceeded", message, param=name)


def _check_sizes(settings: Settings, body: Body, given: dict[str, Any]) -> None:
    """Schemas and grammars: compiling them takes far longer than reading them."""
    limit = settings.server.max_schema_bytes
    if body.size is not None and body.size <= limit:
        return
    for name in _FORMS & given.keys():
        value = given[name]
        size = len(value if isinstance(value, str) else dumps(value))
        if size > limit:
            message = f"{name} has {size} bytes; this server takes at most {limit}."
            raise ApiError(400, INVALID, "limit_exceeded", message, param=name)


def wants_stream(body: Body) -> bool:
    """Whether the answer is to be streamed."""
    return body.value.get("stream") is True
