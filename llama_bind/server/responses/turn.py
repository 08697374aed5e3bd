"""One request on its way: from its body and what it goes on from, to a call, to the record that is kept.

Not for: the parts of that (``items``, ``messages``, ``request``, ``shape``, ``store``), or HTTP.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from llama_bind.errors import UnsupportedError
from llama_bind.server.errors import INVALID, ApiError
from llama_bind.server.replies import dumps
from llama_bind.server.responses.items import Item, read_items, references
from llama_bind.server.responses.messages import Message, chat_messages, shortened
from llama_bind.server.responses.request import Asked
from llama_bind.server.responses.shape import ResponseShape
from llama_bind.server.responses.store import Record, Store
from llama_bind.server.responses.writer import ResponseWriter
from llama_bind.session import Prepared

if TYPE_CHECKING:
    from llama_bind.aio import AsyncLlama

__all__ = ["Turn"]

ROOM = 8
"""Where old turns are left out: one part in so many of the context is for an answer without max_output_tokens."""


@dataclasses.dataclass(eq=False)
class Turn:
    """One request.

    Args:
        llm: Answers.
        asked: What its body says, but for the input.
        options: Of the chat completion.
        given: The input.
        owner: Name of the API key.
        before: The response that it goes on from.
        found: Items that the input refers to, by id.

    Attributes:
        context: All items that the model is given; known after `read`.
        context_size: Bytes of them as JSON.
        new: How many of them, the last ones, are this request's own.
    """

    llm: AsyncLlama
    asked: Asked
    options: dict[str, Any]
    given: str | Sequence[Any]
    owner: str | None = None
    before: Record | None = None
    found: Mapping[str, Item | None] = dataclasses.field(default_factory=dict)
    context: Sequence[Item] = ()
    context_size: int = 0
    new: int = 0

    @classmethod
    def of(
        cls, llm: AsyncLlama, body: Mapping[str, Any], asked: Asked, options: dict[str, Any], store: Store,
        owner: str | None,
    ) -> Turn:  # fmt: skip
        """One with all that it needs of the store.

        Raises:
            ApiError: 400, there is no input, or no such response.
        """
        given, name = body.get("input"), body.get("previous_response_id")
        if given is None and name is None:
            raise ApiError(400, INVALID, "missing_required_parameter", "input is missing.", param="input")
        before = None if name is None else _before(store, owner, name)
        given = [] if given is None else given
        found = {name: store.item(owner, name) for name in references(given)}
        return cls(llm, asked, options, given, owner, before, found)

    def messages(self) -> list[Message]:
        """Read the input; the conversation as messages. Takes its time for long ones.

        Raises:
            ApiError: 400, see `read_items` and `chat_messages`.
        """
        own = read_items(self.given, self.found.get)
        earlier: list[Item] = []
        if self.before is not None:
            output = self.before.response["output"]
            earlier = [*self.before.context, *output]
            self.context_size = self.before.context_size + len(dumps(output))
        self.context, self.new = [*earlier, *own], len(own)
        self.context_size += len(dumps(own))
        return chat_messages(self.context, self.asked.told["instructions"])

    def chat(self) -> Prepared[Any]:
        """The call, with the prompt as token ids. Runs in a reader's thread.

        Raises:
            ApiError: As `messages`.
            UnsupportedError: The model has a chat_handler.
            LlamaBindError: What the library says of the options.
        """
        session, options = self.llm._session, self.options
        if session.params.chat_handler is not None:
            raise UnsupportedError("a model with a chat_handler answers at /v1/chat/completions only")
        messages = self.messages()
        chat = session.chat(messages, options)
        if not self.asked.truncate:
            return chat
        wanted, n_ctx = options.get("max_tokens") or -1, session.n_ctx
        most = n_ctx - (n_ctx // ROOM if wanted < 0 else min(wanted, n_ctx // 2))

        def fits(shorter: list[Message]) -> bool:
            return len(session.chat(shorter, options).requests[0].prompt) <= most

        if len(chat.requests[0].prompt) > most:
            shorter = shortened(messages, fits)
            chat = chat if shorter is None else session.chat(shorter, options)
        return chat

    def prepare(self, writer: ResponseWriter, ended: Callable[[], None]) -> Prepared[Any]:
        """The call, with an answer in the shape of a response. Runs in a reader's thread."""
        chat = self.chat()
        shape = ResponseShape(writer, chat.shape.reader(), ended)
        shape.reports = chat.shape.reports
        return Prepared(chat.requests, shape, True)

    def record(self, response: dict[str, Any]) -> Record:
        """What is kept of it."""
        return Record(response, self.owner, self.context, self.context_size, self.new)


def _before(store: Store, owner: str | None, name: str) -> Record:
    record = store.get(owner, name)
    if record is None:
        said, code = f"There is no stored response with the id {name!r:.80}.", "previous_response_not_found"
        raise ApiError(400, INVALID, code, said, param="previous_response_id")
    if record.running:
        said = f"The response {name!r:.80} is still being generated."
        raise ApiError(400, INVALID, "response_not_ready", said, param="previous_response_id")
    return record
