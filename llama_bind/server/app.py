"""Makes the ASGI application: routes, the gate before them, errors, and the model's life within that of the app.

Everything that lasts is in ``app.state``: any number of apps can live in one process. Not for: listening (``run``).
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response

from llama_bind.errors import DeadlineError, LlamaBindError
from llama_bind.server.anthropic.errors import refusal
from llama_bind.server.errors import INVALID, NOT_FOUND, ApiError, api_error
from llama_bind.server.gate import Gate, Traffic, caller_of
from llama_bind.server.keys import read_keys
from llama_bind.server.models import Models
from llama_bind.server.routes import (
    chat,
    completions,
    docs,
    embeddings,
    extras,
    messages,
    models,
    native,
    page,
    responses,
    status,
    tokens,
)
from llama_bind.server.service import Progress, Service
from llama_bind.server.settings import Settings
from llama_bind.version import __version__

if TYPE_CHECKING:
    from llama_bind.aio import AsyncLlama

__all__ = ["create_app"]

RATE_HEADERS = [f"x-ratelimit-{what}-{of}" for what in ("limit", "remaining", "reset") for of in ("requests", "tokens")]
FAMILIES = (chat, completions, responses, messages, embeddings, models, tokens, native, extras, status, docs, page)
LOCAL_ORIGINS = r"https?://(localhost|127\.0\.0\.1|\[::1\])(:[0-9]+)?"
logger = logging.getLogger("llama_bind.server")


def create_app(
    settings: Settings | None = None,
    *,
    llm: AsyncLlama | None = None,
    on_loaded: Callable[[Service], None] = lambda _: None,
    on_progress: Progress = lambda _share, _size: None,
) -> FastAPI:
    """An application that serves one model, or several.

    Args:
        settings: What to load and how to serve it; None: the default model, all defaults.
        llm: A model that is loaded already, in place of loading one; its owner closes it.
        on_loaded: Called when what is loaded at the start is ready or could not be loaded: with that, else the default.
        on_progress: Called from another thread with the share loaded and the size of the file in bytes.

    Raises:
        InputError: API keys that cannot be read.
    """
    settings = settings or Settings()
    keys = read_keys(settings.server)
    public = settings.server.public_docs
    params = dataclasses.replace(settings.server, public_docs=not keys if public is None else public)
    served, traffic = Models(settings, llm), Traffic()

    @contextlib.asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        loading = asyncio.ensure_future(_load(served, on_loaded, on_progress)) if llm is None else None
        try:
            yield
        finally:
            await served.close()
            if loading is not None:
                await loading

    app = FastAPI(
        title="llama_bind", version=__version__, lifespan=lifespan, root_path=params.root_path,
        docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False,
    )  # fmt: skip
    app.state.settings, app.state.traffic = settings, traffic
    app.state.models, app.state.service = served, served.default
    app.state.admins = frozenset(keys.name_of(key.encode()) for key in params.admin_api_key or ())
    for family in FAMILIES:
        app.include_router(family.routes())
    for kind in (ApiError, LlamaBindError, Exception):
        app.add_exception_handler(kind, _failed)
    app.add_exception_handler(HTTPException, _unrouted)
    app.add_middleware(Gate, params=params, keys=keys, traffic=traffic)
    if params.cors_origins:
        app.add_middleware(
            CORSMiddleware, allow_origins=list(params.cors_origins),
            allow_origin_regex=LOCAL_ORIGINS if "localhost" in params.cors_origins else None,
            allow_methods=["*"], allow_headers=["*"],
            expose_headers=["x-request-id", "request-id", "retry-after", *RATE_HEADERS],
        )  # fmt: skip
    return app


async def _load(served: Models, on_loaded: Callable[[Service], None], on_progress: Progress) -> None:
    on_loaded(await served.start(on_progress))


async def _failed(request: Request, error: Exception) -> Response:
    """Any exception of a route as an answer."""
    told = api_error(error)
    if told.status >= 500 and isinstance(error, LlamaBindError) and not isinstance(error, DeadlineError):
        logger.error("%s %s failed", request.method, request.url.path, exc_info=error)
    settings: Settings = request.app.state.settings
    return refusal(request.scope, told, settings.server.retry_after, caller_of(request.scope).id)


async def _unrouted(request: Request, error: Any) -> Response:
    """No such path, or not with this method."""
    if error.status_code == 404:
        told = ApiError(404, NOT_FOUND, "not_found", "There is nothing at this path.")
    else:
        told = ApiError(error.status_code, INVALID, "method_not_allowed", "Not with this method.")
    told.headers.update(error.headers or {})
    return refusal(request.scope, told, 1, caller_of(request.scope).id)
