"""GET /health, /metrics, /props, /slots: how the server is, for people, probes and llama-server's clients.

Not for: the numbers themselves (``metrics``).
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from llama_bind.core.vocab import Vocab
from llama_bind.server.errors import UNAVAILABLE, ApiError
from llama_bind.server.metrics import CONTENT_TYPE, page
from llama_bind.server.native.options import sampling_settings
from llama_bind.server.native.slots import slot_entries
from llama_bind.server.replies import Reply
from llama_bind.server.requests import models_of
from llama_bind.server.routes.described import FINGERPRINT, described
from llama_bind.server.service import Service

__all__ = ["routes"]


def routes() -> APIRouter:
    """The router."""
    router = APIRouter(tags=["status"])
    router.add_api_route("/health", health, methods=["GET"], **described("Whether requests are answered"))
    router.add_api_route("/v1/health", health, methods=["GET"], include_in_schema=False)
    told = described("Counters for Prometheus", media=CONTENT_TYPE.partition(";")[0])
    router.add_api_route("/metrics", metrics, methods=["GET"], **told)
    router.add_api_route("/props", props, methods=["GET"], **described("Properties of the server"))
    router.add_api_route("/slots", slots, methods=["GET"], **described("What runs"))
    return router


async def health(request: Request) -> Response:
    """200 when requests are answered, else 503 with the reason: what is loaded at the start is not there yet, or cannot
    be. Needs no key.
    """
    models = models_of(request)
    needed = [one for one in models.services if not one.on_demand and not (one.was_loaded and models.several)]
    if any(one.error is not None for one in needed):
        return Reply({"status": "error"}, 503)
    if models.closing:
        return Reply({"status": "shutting down"}, 503)
    for one in needed:
        if not one.was_loaded:
            return Reply({"status": "loading model", "progress": round(one.progress, 3)}, 503)
    if not models.several:
        return Reply({"status": "ok"})
    loaded = sum(service.llm is not None for service in models.services)
    return Reply({"status": "ok", "models": {"loaded": loaded, "total": len(models.services)}})


async def metrics(request: Request) -> Response:
    """Counters and histograms, in Prometheus' text format; llama-server's names as well. Of several models each has its
    own, under the label model.
    """
    models = models_of(request)
    stats = await asyncio.gather(*(service.stats() for service in models.services))
    text = page(list(zip(models.services, stats, strict=True)), request.app.state.traffic, models.budget)
    began = str(models.services[0].created)
    return Response(text, media_type=None, headers={"content-type": CONTENT_TYPE, "process-start-time-unix": began})


def _asked(request: Request) -> Service:
    """The model that the query names, else the default; it is not loaded for this."""
    return models_of(request).find(request.query_params.get("model"))


async def props(request: Request) -> Response:
    """What llama-server tells of itself: contexts, slots, template, defaults. Of several models the one that `model` in
    the query names; of one that is not loaded, what is known.
    """
    service = _asked(request)
    if service.state == "unloaded":
        return Reply({**(service.props or _described(service)), "is_sleeping": True})
    llm = service.ready()
    defaults, vocab = llm._session.defaults, llm._session.vocab
    sampling = {k: v for k, v in vars(defaults).items() if not callable(v)} | sampling_settings(defaults)
    service.props = {
        "default_generation_settings": {
            "n_ctx": llm.n_ctx(), "params": {**sampling, **service.settings.defaults}
        },
        "total_slots": service.slots,
        "bos_token": _text(vocab, vocab.bos),
        "eos_token": _text(vocab, vocab.eos),
        "model_path": Path(llm.model_path).name,  # where it lies is nobody's business
        "chat_template": llm._session.params.chat_template or llm.model.chat_template() or "",
        **_described(service),
    }  # fmt: skip
    return Reply(service.props)


def _text(vocab: Vocab, token: int | None) -> str:
    return "" if token is None else vocab.token_to_piece(token, special=True).decode("utf-8", "replace")


def _described(service: Service) -> dict[str, Any]:
    return {
        "model_alias": service.names[0],
        "modalities": {"vision": False, "audio": False},
        "build_info": FINGERPRINT,
        "is_sleeping": False,
    }


async def slots(request: Request) -> Response:
    """One entry for each request that can run at once, in llama-server's fields: what runs in it, and how far that is.
    A model that is not loaded has none; of several the query's `model` is shown.
    """
    service = _asked(request)
    if service.state == "unloaded":
        return Reply([])
    llm = service.ready()
    running = await service.running()
    if request.query_params.get("fail_on_no_slot") and len(running) >= service.slots:
        raise ApiError(503, UNAVAILABLE, "no_slot", "All slots are busy.", retry=True)
    drafts = llm._session.drafting.by_default
    return Reply(slot_entries(running, service.slots, llm.n_ctx(), speculative=drafts))
