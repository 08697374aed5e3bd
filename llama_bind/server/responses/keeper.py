"""What a server keeps of responses: the store, and those that are being generated in the background.

Not for: HTTP (``routes``).
"""

from __future__ import annotations

import asyncio
from typing import Any

from llama_bind.server.accounts import Account
from llama_bind.server.params import ServerParams
from llama_bind.server.replies import dumps
from llama_bind.server.responses.background import Job
from llama_bind.server.responses.store import Record, Store
from llama_bind.server.responses.writer import ResponseWriter

__all__ = ["Keeper"]


class Keeper:
    """The responses of one server.

    Args:
        params: How many, how much, how long.

    Attributes:
        store: Those that are kept.
    """

    def __init__(self, params: ServerParams) -> None:
        self.store = Store(params.max_responses, params.max_responses_bytes, params.responses_age)
        self._running: dict[asyncio.Task[None], Job] = {}

    @property
    def can_store(self) -> bool:
        """Whether anything is kept."""
        return self.store.most > 0

    def keep(self, record: Record) -> None:
        """Keep a finished response."""
        self.store.put(record, len(dumps(record.response)))

    async def run(self, record: Record, writer: ResponseWriter, events: Any, account: Account | None = None) -> Job:
        """Generate a response in the background; it is kept from now on.

        Args:
            record: What is kept.
            writer: Writes it.
            events: They come out of this.
            account: Of the key; the response counts as a request of it until it has ended.

        Raises:
            ApiError: 429, as many are generated already as are kept.
        """

        def ended() -> None:
            self.store.finished(record, len(dumps(record.response)) + job.size)
            if account is not None:
                account.leave()

        record.job = job = Job(writer, events, ended)
        try:
            self.store.put(record, 0)
        except BaseException:
            await events.aclose()
            raise
        if account is not None:
            account.stay()
        task = job.start()
        self._running[task] = job
        task.add_done_callback(lambda task: self._running.pop(task, None))
        return job

    async def drop(self, record: Record) -> None:
        """Let go of a response, and end it if it is still being generated."""
        if record.job is not None:
            await record.job.cancel()
        self.store.remove(record)

    async def close(self) -> None:
        """End what is being generated: nobody could fetch it afterwards."""
        for job in list(self._running.values()):
            await job.cancel()
