"""What a model writes as a response: the events of its stream, and the object that it becomes.

Pure. Events are those of OpenAI's API reference, in its order, numbered from 0; together they hold what the finished
response holds. Not for: finding text, reasoning and calls in the output (``chat.router``), or sending events (routes).
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from llama_bind.chat.events import OutputEvent, ReasoningDelta, TextDelta, ToolCallArguments, ToolCallStart
from llama_bind.server.errors import ApiError
from llama_bind.server.responses.items import Item, new_id, sealed
from llama_bind.values import FinishEvent, TokenLogprob, Usage

__all__ = ["Event", "ResponseWriter"]

Event: TypeAlias = dict[str, Any]


class ResponseWriter:
    """Writes one response.

    Args:
        told: Fields that say what was asked for.
        model: Its name.
        logprobs: Whether the text's tokens come with log probabilities.
        seal: Whether reasoning comes as `encrypted_content` too.
        queued: Begin as one that waits.

    Attributes:
        response: The response as far as it is; its finished items are not changed any more.
    """

    def __init__(
        self, told: Mapping[str, Any], model: str, *, logprobs: bool = False, seal: bool = False, queued: bool = False
    ) -> None:
        self.response: dict[str, Any] = {
            "id": new_id("resp"),
            "object": "response",
            "created_at": int(time.time()),
            "status": "queued" if queued else "in_progress",
            "completed_at": None,
            "error": None,
            "incomplete_details": None,
            "model": model,
            "output": [],
            **told,
            "usage": None,
        }
        self._with_logprobs = logprobs
        self._seal = seal
        self._number = 0
        self._item: Item | None = None
        self._pieces: list[str] = []
        self._logprobs: list[Any] = []
        self._waiting: list[Any] = []  # log probabilities of tokens whose text has not come yet
        self._blank = ""
        self._uncounted = 0  # tokens of which it is not known yet whether they are reasoning
        self._reasoning_tokens = 0

    # -- beginning and end -----------------------------------------------------------------------------------------

    def opening(self) -> list[Event]:
        """The two events before there is anything."""
        second = "response.queued" if self.response["status"] == "queued" else "response.in_progress"
        return [self._whole("response.created"), self._whole(second)]

    def ending(self, finish: FinishEvent) -> list[Event]:
        """The last events, after all output."""
        whole = finish.reason == "stop"
        self.response.update(usage=self._usage(finish.usage), seed=finish.seed)
        status = "completed" if whole else "incomplete"
        events = self._close(status)
        if not any(item["type"] == "function_call" for item in self.response["output"]) and (
            self._blank or not self.response["output"]
        ):
            events += self._open_message()
            if self._blank:
                events.append(self._text_delta(self._blank))
            events += self._close(status)
        if whole:
            self.response.update(status="completed", completed_at=int(time.time()))
            events.append(self._whole("response.completed"))
        else:
            # None of OpenAI's reasons is a deadline: then there is none, and our own says it.
            length = {"reason": "max_output_tokens"}
            details = length if finish.reason == "length" else {"reason": None, "finish_reason": finish.reason}
            self.response.update(status="incomplete", incomplete_details=details)
            events.append(self._whole("response.incomplete"))
        return events

    def _usage(self, usage: Usage) -> dict[str, Any]:
        """Counts of tokens; what was computed of the prompt is what went into the cache."""
        cached, written = usage.cached_tokens, usage.prompt_tokens - usage.cached_tokens
        return {
            "input_tokens": usage.prompt_tokens,
            "input_tokens_details": {"cached_tokens": cached, "cache_write_tokens": written},
            "output_tokens": usage.completion_tokens,
            "output_tokens_details": {"reasoning_tokens": self._reasoning_tokens},
            "total_tokens": usage.total_tokens,
        }

    def failed(self, error: ApiError) -> list[Event]:
        """The last events when generating has failed."""
        if error.status == 429:
            code = "rate_limit_exceeded"
        else:
            code = "invalid_prompt" if error.status < 500 else "server_error"
        events = self._close("incomplete")
        events.append(self._event("error", code=error.code, message=error.message, param=error.param))
        self.response.update(status="failed", error={"code": code, "message": error.message})
        return [*events, self._whole("response.failed")]

    def cancelled(self) -> list[Event]:
        """The last events when it was cancelled: there is no type of its own for that, the status says it."""
        events = self._close("incomplete")
        self.response["status"] = "cancelled"
        return [*events, self._whole("response.incomplete")]

    def snapshot(self) -> dict[str, Any]:
        """The response as it is now."""
        return {**self.response, "output": list(self.response["output"])}

    # -- output ----------------------------------------------------------------------------------------------------

    def still(self) -> Event:
        """The event that tells nothing new, for what is told with it."""
        return self._whole("response.in_progress")

    def take(self, found: Iterable[OutputEvent], tokens: int = 0, logprobs: Sequence[TokenLogprob] = ()) -> list[Event]:
        """The events for more of the output.

        Args:
            found: What it turned out to be.
            tokens: How many tokens it has.
            logprobs: Their log probabilities.
        """
        events: list[Event] = []
        if self.response["status"] == "queued":
            self.response["status"] = "in_progress"
            events.append(self._whole("response.in_progress"))
        self._uncounted += tokens
        if self._with_logprobs:
            self._waiting += [_logprob(entry) for entry in logprobs]
        for event in found:
            if isinstance(event, TextDelta):
                events += self._said(event.text) if event.text else ()
            elif isinstance(event, ReasoningDelta):
                events += self._thought(event.text) if event.text else ()
                self._reasoning_tokens += self._uncounted
            elif isinstance(event, ToolCallStart):
                events += self._called(event)
            elif isinstance(event, ToolCallArguments):
                events += self._more_arguments(event.text)
            else:
                events += self._close()
            self._uncounted = 0
        return events

    def _said(self, text: str) -> list[Event]:
        events: list[Event] = []
        if self._item is None or self._item["type"] != "message":
            text = self._blank + text
            if text.isspace():  # between reasoning and a call it would be a message of nothing
                self._blank = text
                return events
            events = self._open_message()
        events.append(self._text_delta(text))
        return events

    def _text_delta(self, text: str) -> Event:
        entries, self._waiting = self._waiting, []
        self._logprobs += entries
        self._blank = ""
        self._pieces.append(text)
        return self._about("response.output_text.delta", content_index=0, delta=text, logprobs=entries)

    def _thought(self, text: str) -> list[Event]:
        events: list[Event] = []
        if self._item is None or self._item["type"] != "reasoning":
            item = {"id": new_id("rs"), "type": "reasoning", "status": "in_progress", "summary": [], "content": []}
            events = self._open(item)
            part = {"type": "reasoning_text", "text": ""}
            events.append(self._about("response.content_part.added", content_index=0, part=part))
        self._waiting.clear()  # these log probabilities are of no text
        self._pieces.append(text)
        events.append(self._about("response.reasoning_text.delta", content_index=0, delta=text))
        return events

    def _called(self, call: ToolCallStart) -> list[Event]:
        self._waiting.clear()
        return self._open(
            {
                "id": new_id("fc"), "type": "function_call", "status": "in_progress", "call_id": call.id,
                "name": call.name, "arguments": "",
            }
        )  # fmt: skip

    def _more_arguments(self, text: str) -> list[Event]:
        self._waiting.clear()
        self._pieces.append(text)
        return [self._about("response.function_call_arguments.delta", delta=text)] if text else []

    # -- items -----------------------------------------------------------------------------------------------------

    def _open_message(self) -> list[Event]:
        item = {"id": new_id("msg"), "type": "message", "status": "in_progress", "role": "assistant", "content": []}
        events = self._open(item)
        part = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
        events.append(self._about("response.content_part.added", content_index=0, part=part))
        return events

    def _open(self, item: Item) -> list[Event]:
        events = self._close()
        if item["type"] != "message":
            self._blank = ""
        self._item = item
        self.response["output"].append(item)
        return [*events, self._event("response.output_item.added", output_index=self._place, item=item)]

    def _close(self, status: str = "completed") -> list[Event]:
        """Finish the open item, if there is one."""
        item = self._item
        if item is None:
            return []
        text = "".join(self._pieces)
        item, events = _FINISH[item["type"]](self, {**item, "status": status}, text)
        self.response["output"][-1] = item
        events.append(self._event("response.output_item.done", output_index=self._place, item=item))
        self._item, self._pieces, self._logprobs = None, [], []
        return events

    def _message_done(self, item: Item, text: str) -> tuple[Item, list[Event]]:
        logprobs = self._logprobs
        part = {"type": "output_text", "text": text, "annotations": [], "logprobs": logprobs}
        return {**item, "content": [part]}, [
            self._about("response.output_text.done", content_index=0, text=text, logprobs=logprobs),
            self._about("response.content_part.done", content_index=0, part=part),
        ]

    def _reasoning_done(self, item: Item, text: str) -> tuple[Item, list[Event]]:
        part = {"type": "reasoning_text", "text": text}
        more = {"encrypted_content": sealed(text)} if self._seal else {}
        return {**item, "content": [part], **more}, [
            self._about("response.reasoning_text.done", content_index=0, text=text),
            self._about("response.content_part.done", content_index=0, part=part),
        ]

    def _call_done(self, item: Item, text: str) -> tuple[Item, list[Event]]:
        done = self._about("response.function_call_arguments.done", name=item["name"], arguments=text)
        return {**item, "arguments": text}, [done]

    # -- events ----------------------------------------------------------------------------------------------------

    @property
    def _place(self) -> int:
        return len(self.response["output"]) - 1

    def _event(self, kind: str, **fields: Any) -> Event:
        number = self._number
        self._number = number + 1
        return {"type": kind, "sequence_number": number, **fields}

    def _about(self, kind: str, **fields: Any) -> Event:
        """An event about the open item."""
        assert self._item is not None
        return self._event(kind, item_id=self._item["id"], output_index=self._place, **fields)

    def _whole(self, kind: str) -> Event:
        return self._event(kind, response=self.snapshot())


_FINISH = {
    "message": ResponseWriter._message_done,
    "reasoning": ResponseWriter._reasoning_done,
    "function_call": ResponseWriter._call_done,
}


def _logprob(entry: TokenLogprob, *, with_top: bool = True) -> dict[str, Any]:
    found = {"token": entry.piece.decode("utf-8", "replace"), "bytes": list(entry.piece), "logprob": entry.logprob}
    if with_top:
        found["top_logprobs"] = [_logprob(one, with_top=False) for one in entry.top]
    return found
