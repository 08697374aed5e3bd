"""The models of one server: found by name, loaded when a request needs them, unloaded when others need their memory.

All of this runs in the event loop, so that what is decided between two awaits holds. Not for: what a model is or how it
is loaded (``service``), or which of several has to go (``pool``).
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

from llama_bind.core.cpu import available_memory
from llama_bind.errors import LlamaBindError, ModelTooLargeError
from llama_bind.server.errors import INVALID, NOT_FOUND, UNAVAILABLE, ApiError
from llama_bind.server.pool import Held, to_unload
from llama_bind.server.service import Progress, Service
from llama_bind.server.settings import Settings

if TYPE_CHECKING:
    from llama_bind.aio import AsyncLlama

__all__ = ["Lease", "Models"]

NO_ROOM = "out_of_memory"
LONGEST_TICK = 5.0
"""Seconds between two looks for models that are idle."""
logger = logging.getLogger("llama_bind.server")


class Lease:
    """The use of a model by one request: as long as it lasts the model stays. Release it once, or more often."""

    __slots__ = ("_models", "_released", "service")

    def __init__(self, models: Models, service: Service) -> None:
        self._models = models
        self._released = False
        self.service = service
        service.leases += 1

    def release(self) -> None:
        """The request is over."""
        if not self._released:
            self._released = True
            self.service.leases -= 1
            self.service.used = time.monotonic()
            self._models.changed()


class Models:
    """The models that a server serves.

    Args:
        settings: The server's; `Settings.models` where there are several.
        llm: The only one, loaded already; its owner closes it.

    Attributes:
        services: All, in the order of the settings; the first is the default.
        budget: Bytes for all that are loaded; None: any number.
    """

    def __init__(self, settings: Settings, llm: AsyncLlama | None = None) -> None:
        self.settings = settings
        each = settings.models or (settings,)
        self.services = tuple(Service(one, llm, on_demand=bool(settings.models) and not one.preload) for one in each)
        self._by_name = {name: service for service in reversed(self.services) for name in service.names}
        budget = settings.server.memory_budget
        self.budget = available_memory() if budget is None and self.several else budget
        self.closing = False
        self._waiting: set[asyncio.Future[None]] = set()
        self._idle: asyncio.Task[None] | None = None

    @property
    def default(self) -> Service:
        """The model of requests that name none."""
        return self.services[0]

    @property
    def several(self) -> bool:
        """Whether a request has to name its model."""
        return len(self.services) > 1

    def find(self, name: str | None) -> Service:
        """The model of a name; while there is one, of any name.

        Raises:
            ApiError: 404, there are several and none of this name.
        """
        if not name or not self.several:
            return self.default
        return self.named(name)

    def named(self, name: str) -> Service:
        """The model that really has this name. Raises `ApiError` 404 where none has."""
        service = self._by_name.get(name) if isinstance(name, str) else None
        if service is None:
            said = f"There is no model {name!r:.80} here; GET /v1/models lists those that there are."
            raise ApiError(404, NOT_FOUND, "model_not_found", said, param="model")
        return service

    # -- life ----------------------------------------------------------------------------------------------------------

    async def start(self, on_progress: Progress) -> Service:
        """Load what is to be there from the beginning. Gives the one that failed, else the default."""
        if any(service.idle_timeout for service in self.services):
            self._idle = asyncio.ensure_future(self._unload_idle())
        for service in self.services:
            if not service.on_demand and service.llm is None:
                service.task = asyncio.ensure_future(self._load(service, on_progress))
                await asyncio.wait({service.task})
                if service.error is not None:
                    return service
        return self.default

    async def close(self) -> None:
        """Free all models. Requests that still run end."""
        self.closing = True
        if self._idle is not None:
            self._idle.cancel()
        for service in self.services:
            service.closing = True  # a load that goes on stops at its next step
        self.changed()
        loading = {service.task for service in self.services if service.task is not None}
        if loading:
            await asyncio.wait(loading)
        await asyncio.gather(*(service.close() for service in self.services))

    def changed(self) -> None:
        """Something may be free now: whoever waits for that looks again."""
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_result(None)

    async def _unload_idle(self) -> None:
        shortest = min(service.idle_timeout for service in self.services if service.idle_timeout)
        while True:
            await asyncio.sleep(min(shortest / 4, LONGEST_TICK))
            for service in self.services:
                if service.is_idle(time.monotonic()):
                    logger.info("%s is idle and is unloaded", service.names[0])
                    await service.unload()
                    self.changed()

    # -- use -----------------------------------------------------------------------------------------------------------

    async def lease(self, name: str | None) -> Lease:
        """The model of a name for one request, loaded if it is not.

        Raises:
            ApiError: 404, no such model; 503, it cannot be had now.
        """
        service = self.find(name)
        if service.llm is None:
            await self.bring(service)
        return Lease(self, service)

    async def bring(self, service: Service) -> None:
        """Have a model loaded; however many ask, it is loaded once.

        Raises:
            ApiError: 503, it cannot be had within `load_wait` seconds.
        """
        end = time.monotonic() + self.settings.server.load_wait
        if not service.was_loaded and not service.on_demand:
            service.ready()  # the server starts: whoever asks now is told so
        while service.llm is None:
            self.begin(service)
            assert service.task is not None
            done, _ = await asyncio.wait({service.task}, timeout=max(end - time.monotonic(), 0))
            if not done:
                if service.is_cramped:
                    raise _no_room()
                service.ready()  # says how far it is
                return
            refused = next(iter(done)).result()
            if refused is not None and (refused.code != NO_ROOM or time.monotonic() >= end):
                raise _again(refused)

    async def _load(self, service: Service, on_progress: Progress = lambda _share, _size: None) -> ApiError | None:
        """Make room for a model and load it. Gives what is told to those who wait for it, None when it is there."""
        try:
            refused = await self._make_room(service)
            if refused is not None:
                return refused
            await service.load(on_progress)
            if service.error is not None:
                logger.error("%s could not be loaded: %s", service.names[0], service.error)
                return service.unavailable(time.monotonic())
            return None
        finally:
            service.task = None
            if service.llm is None:
                service.size = 0
            self.changed()

    async def _make_room(self, service: Service) -> ApiError | None:
        if service.freeing is not None:
            await asyncio.wait({service.freeing})
        if self.budget is None:
            return None
        try:
            size = await asyncio.to_thread(service.measure, self.budget)
            if size > self.budget:
                said = (
                    f"{service.names[0]} takes about {size / 2**30:.2f} GiB, memory_budget is {self.budget / 2**30:.2f}"
                )
                raise ModelTooLargeError(f"{said} GiB", needed=size, available=self.budget)
        except (LlamaBindError, OSError) as error:
            service.fail(error)
            logger.error("%s could not be loaded: %s", service.names[0], error)
            return service.unavailable(time.monotonic())
        end = time.monotonic() + self.settings.server.load_wait
        while (names := to_unload(self._held(), size, self.budget)) is None:
            left = end - time.monotonic()
            service.is_cramped = left > 0 and not self.closing
            if not service.is_cramped:
                return _no_room()
            await self._change(left)
        service.size, service.is_cramped = size, False
        for other in [self._by_name[name] for name in names]:
            logger.info("%s is unloaded to make room for %s", other.names[0], service.names[0])
            other.begin_unload()
        for other in [self._by_name[name] for name in names]:
            if other.freeing is not None:
                await asyncio.wait({other.freeing})
        return None

    def _held(self) -> list[Held]:
        return [Held(one.names[0], one.size, one.is_busy, one.used) for one in self.services if one.size]

    async def _change(self, seconds: float) -> None:
        """Wait until something may be free. Work that no request stands for is not told of: look now and then."""
        waiting = asyncio.get_running_loop().create_future()
        self._waiting.add(waiting)
        try:
            await asyncio.wait({waiting}, timeout=min(seconds, 1.0))
        finally:
            self._waiting.discard(waiting)

    def begin(self, service: Service) -> None:
        """Load a model in the background.

        Raises:
            ApiError: 503, it cannot be loaded just now.
        """
        service.check_usable(time.monotonic())
        if service.task is None and service.llm is None:
            service.task = asyncio.ensure_future(self._load(service))

    async def unload(self, service: Service, *, force: bool = False) -> None:
        """Unload a model because somebody says so; it is loaded again when a request needs it.

        Raises:
            ApiError: 409, requests use it, and it is not forced.
        """
        if service.llm is None:
            return
        if not service.owned:
            said = "This model belongs to the program that serves it."
            raise ApiError(409, INVALID, "model_busy", said, param="model")
        if service.is_busy and not force:
            said = "Requests use this model; try again when they have ended, or give force: true, which ends them."
            raise ApiError(409, INVALID, "model_busy", said, param="model")
        await service.unload()
        self.changed()


def _no_room() -> ApiError:
    said = "There is no memory for this model while others are in use; try again later."
    return ApiError(503, UNAVAILABLE, NO_ROOM, said, retry=True)


def _again(error: ApiError) -> ApiError:
    """The same error for another request: raising one leaves traces in it."""
    told = {"param": error.param, "headers": error.headers, "retry": error.retry, **error.more}
    return ApiError(error.status, error.type, error.code, error.message, **told)
