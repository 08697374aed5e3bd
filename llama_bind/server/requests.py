"""From a body to the keyword arguments of a call: defaults under it, limits over it, and who asks.

Not for: the calls (routes), or values (the library checks those).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starlette.requests import Request

from llama_bind.server.body import Body
from llama_bind.server.errors import INVALID, ApiError
from llama_bind.server.gate import caller_of
from llama_bind.server.service import Service
from llama_bind.server.settings import Settings

if TYPE_CHECKING:
    from llama_bind.aio import AsyncLlama

__all__ = ["call_options", "model_for", "service_of", "settings_of", "wants_stream"]

_DEADLINES = ("queue_timeout", "first_token_timeout", "timeout")


def service_of(request: Request) -> Service:
    """The service of the app that got the request."""
    service: Service = request.app.state.service
    return service


async def model_for(request: Request, _body: Body) -> AsyncLlama:
    """The model that a body asks for, ready.

    Raises:
        ApiError: 503, it is not ready.
    """
    return service_of(request).ready()


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
    settings = settings_of(request)
    given = body.of(names)
    _check_limits(settings, given)
    options = {**{k: v for k, v in settings.defaults.items() if k in names}, **given}
    for name in _DEADLINES:  # a client may ask for less time than the server gives, not for more
        if name in given and name in settings.defaults:
            options[name] = min(given[name], settings.defaults[name])
    key = caller_of(request.scope).key
    if key is not None:
        options["user"] = key  # keys take turns, whatever users they speak for
        if settings.server.isolate_keys:
            options["cache_salt"] = f"{key}:{options.get('cache_salt') or ''}"
    return options


def _check_limits(settings: Settings, given: dict[str, Any]) -> None:
    server = settings.server
    for name, limit in (
        ("n", server.max_n),
        ("best_of", server.max_n),
        ("logprobs", server.max_logprobs),
        ("top_logprobs", server.max_logprobs),
        ("priority", server.max_priority),
    ):
        value = given.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and value > limit:
            message = f"{name} is {value if abs(value) < 1e9 else 'too much'}; this server gives at most {limit}."
            raise ApiError(400, INVALID, "limit_exceeded", message, param=name)


def wants_stream(body: Body) -> bool:
    """Whether the answer is to be streamed."""
    return body.value.get("stream") is True
