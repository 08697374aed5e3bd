"""Responses that are kept: so many, so much, so long, each for the API key that asked for it.

In memory alone; nothing outlives the server. The oldest go first; one that is still being generated stays. Not for:
generating (``background``), or HTTP.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import Any

from llama_bind.server.errors import RATE, ApiError
from llama_bind.server.responses.background import Job
from llama_bind.server.responses.items import Item

__all__ = ["Record", "Store"]


@dataclasses.dataclass(eq=False)
class Record:
    """A response with what it answers.

    Attributes:
        response: As clients get it; that of its writer while it is being generated.
        owner: Name of the API key; None where there are none.
        context: All items that the model was given, those of earlier responses included.
        context_size: Bytes of them as JSON.
        new: How many of them, the last ones, came with this request.
        job: What generates it, or has generated it, in the background.
        size: Bytes that it counts for; earlier items count again for each response that goes on from them, and are
            held once.
        created: When, by the store's clock.
    """

    response: dict[str, Any]
    owner: str | None
    context: Sequence[Item]
    context_size: int
    new: int
    job: Job | None = None
    size: int = 0
    created: float = 0.0

    @property
    def id(self) -> str:
        name: str = self.response["id"]
        return name

    @property
    def running(self) -> bool:
        return self.job is not None and not self.job.done

    @property
    def items(self) -> list[Item]:
        """The items that are its own: what came with the request, and what the model wrote."""
        return [*self.context[len(self.context) - self.new :], *self.response["output"]]


class Store:
    """Responses by id.

    Args:
        most: Responses that are kept; 0: none.
        most_bytes: Bytes of all of them as JSON.
        age: Seconds after which one is dropped.
        clock: Seconds since some moment.
    """

    def __init__(self, most: int, most_bytes: int, age: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.most = most
        self.most_bytes = most_bytes
        self.age = age
        self._clock = clock
        self._records: dict[str, Record] = {}  # in the order of their creation
        self._items: dict[tuple[str | None, str], tuple[Item, Record]] = {}
        self.size = 0

    def __len__(self) -> int:
        return len(self._records)

    def put(self, record: Record, size: int) -> None:
        """Keep a response, and let go of older ones where that is too much.

        Args:
            record: The response.
            size: Bytes of it as JSON, without its context.

        Raises:
            ApiError: 429, all that is kept is still being generated.
        """
        if record.running and sum(other.running for other in self._records.values()) >= self.most:
            said = "As many responses are generated in the background as the server keeps; try again later."
            raise ApiError(429, RATE, "queue_full", said, retry=True)
        record.created = self._clock()
        self._records[record.id] = record
        self.finished(record, size)

    def finished(self, record: Record, size: int) -> None:
        """Count a response anew, which has changed; one that is not kept any more is none of ours."""
        if self._records.get(record.id) is not record:
            return
        self._forget(record)
        record.size = size + record.context_size
        self.size += record.size
        if not record.running:
            for item in record.items:
                self._items[record.owner, item["id"]] = item, record
        self._trim()

    def get(self, owner: str | None, name: str) -> Record | None:
        """The response of that id, if it is the owner's."""
        self._trim()
        record = self._records.get(name)
        return record if record is not None and record.owner == owner else None

    def item(self, owner: str | None, name: str) -> Item | None:
        """An item of one of the owner's responses."""
        self._trim()
        found = self._items.get((owner, name))
        return None if found is None else found[0]

    def remove(self, record: Record) -> None:
        """Let go of a response."""
        if self._records.pop(record.id, None) is not None:
            self._forget(record)

    def _forget(self, record: Record) -> None:
        self.size -= record.size
        record.size = 0
        for item in record.items:
            found = self._items.get((record.owner, item["id"]))
            if found is not None and found[1] is record:
                del self._items[record.owner, item["id"]]

    def _trim(self) -> None:
        oldest = self._clock() - self.age
        for record in list(self._records.values()):
            over = len(self._records) > self.most or self.size > self.most_bytes
            if not over and record.created >= oldest:
                break  # those behind it are younger
            if not record.running:
                self.remove(record)
