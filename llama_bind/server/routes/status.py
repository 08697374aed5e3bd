"""GET /health, /metrics, /props, /slots: how the server is, for people, probes and llama-server's clients.

Not for: the numbers themselves (``metrics``).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from llama_bind.server.errors import UNAVAILABLE, ApiError
from llama_bind.server.metrics import CONTENT_TYPE, page
from llama_bind.server.replies import Reply
from llama_bind.server.requests import service_of, settings_of
from llama_bind.server.routes.described import FINGERPRINT, described

__all__ = ["routes"]


def routes() -> APIRouter:
    """The router."""
    router = APIRouter(tags=["status"])
    router.add_api_route("/health", health, methods=["GET"], **described("Whether requests are answered"))
    router.add_api_route("/v1/health", health, methods=["GET"], include_in_schema=False)
    router.add_api_route("/metrics", metrics, methods=["GET"], **described("Counters for Prometheus"))
    router.add_api_route("/props", props, methods=["GET"], **described("Properties of the server"))
    router.add_api_route("/slots", slots, methods=["GET"], **described("What runs"))
    return router


async def health(request: Request) -> Response:
    """200 when the model is ready, else 503 with the reason. Needs no key."""
    service = service_of(request)
    if service.llm is not None:
        return Reply({"status": "ok"})
    if service.error is not None:
        return Reply({"status": "error"}, 503)
    if service.closing:
        return Reply({"status": "shutting down"}, 503)
    return Reply({"status": "loading model", "progress": round(service.progress, 3)}, 503)


async def metrics(request: Request) -> Response:
    """Counters and histograms, in Prometheus' text format; llama-server's names as well."""
    service = service_of(request)
    text = page(await service.stats(), request.app.state.traffic, service)
    return Response(text, media_type=None, headers={"content-type": CONTENT_TYPE})


async def props(request: Request) -> Response:
    """What llama-server tells of itself: contexts, slots, template, defaults."""
    service = service_of(request)
    llm = service.ready()
    sampling = {k: v for k, v in vars(llm._session.defaults).items() if not callable(v)}
    defaults = {**sampling, **settings_of(request).defaults}
    return Reply(
        {
            "default_generation_settings": {"n_ctx": llm.n_ctx(), "params": defaults},
            "total_slots": service.slots,
            "model_alias": service.names[0],
            "model_path": Path(llm.model_path).name,  # where it lies is nobody's business
            "chat_template": llm._session.params.chat_template or llm.model.chat_template() or "",
            "modalities": {"vision": False, "audio": False},
            "build_info": FINGERPRINT,
            "is_sleeping": False,
        }
    )


async def slots(request: Request) -> Response:
    """One entry for each request that can run at once. Slots are alike: the first so many that run are shown busy."""
    service = service_of(request)
    llm = service.ready()
    stats = await service.stats()
    running = 0 if stats is None else stats.running
    if request.query_params.get("fail_on_no_slot") and running >= service.slots:
        raise ApiError(503, UNAVAILABLE, "no_slot", "All slots are busy.", retry=True)
    entries: list[dict[str, Any]] = [
        {"id": i, "n_ctx": llm.n_ctx(), "is_processing": i < running} for i in range(service.slots)
    ]
    return Reply(entries)
