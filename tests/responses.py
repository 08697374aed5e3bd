"""What any stream of a response must be: held to the official client's types and to itself."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any, get_args

from openai.types.responses import Response, ResponseStreamEvent
from pydantic import BaseModel, TypeAdapter

ENDS = ("response.completed", "response.incomplete", "response.failed")


@functools.cache
def event_types() -> Mapping[str, type[BaseModel]]:
    """The client's class for each type of event."""
    union = get_args(get_args(ResponseStreamEvent)[0])
    return {kind: cls for cls in union for kind in get_args(cls.model_fields["type"].annotation)}


def typed(value: Any, kind: Any = Response) -> Any:
    """The value by one of the client's types: every field that the type needs, of the type that it has."""
    return _adapter(kind).validate_python(value, strict=True)


@functools.cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def checked(events: Sequence[Mapping[str, Any]]) -> Any:
    """The response at the end of a stream, of which everything is checked that can be."""
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    for event in events:
        typed(event, event_types()[event["type"]])
    kinds = [event["type"] for event in events]
    assert kinds[0] == "response.created"
    assert kinds[1] in ("response.queued", "response.in_progress")
    assert kinds[-1] in ENDS
    assert not set(kinds[:-1]) & set(ENDS)
    final = events[-1]["response"]
    wholes = [event["response"] for event in events if "response" in event]
    assert {whole["id"] for whole in wholes} == {final["id"]}
    assert wholes[0]["output"] == []
    rebuilt = Rebuilt()
    for event in events:
        rebuilt.take(event)
    assert rebuilt.output == final["output"]
    assert rebuilt.open is None
    return final


class Rebuilt:
    """The output of a response out of its events; each must fit the ones before."""

    def __init__(self) -> None:
        self.output: list[Any] = []
        self.open: Any = None
        self.part: Any = None
        self.text = ""
        self.logprobs: list[Any] = []

    def take(self, event: Mapping[str, Any]) -> None:
        kind = event["type"]
        if "output_index" in event:
            assert event["output_index"] == len(self.output)
        if "item_id" in event:
            assert event["item_id"] == self.open["id"]
        if "content_index" in event:
            assert event["content_index"] == 0
        if kind == "response.output_item.added":
            assert self.open is None
            self.open, self.text, self.logprobs = event["item"], "", []
            assert self.open["status"] == "in_progress"
            assert not self.open.get("content")
            assert not self.open.get("arguments")
        elif kind == "response.content_part.added":
            self.part = event["part"]
            assert self.part["text"] == ""
        elif kind.endswith(".delta"):
            assert event["delta"]
            self.text += event["delta"]
            self.logprobs += event.get("logprobs", ())
        elif kind in ("response.output_text.done", "response.reasoning_text.done"):
            assert event["text"] == self.text
            assert event.get("logprobs", []) == self.logprobs
        elif kind == "response.function_call_arguments.done":
            assert event["arguments"] == self.text
        elif kind == "response.content_part.done":
            assert event["part"]["type"] == self.part["type"]
            assert event["part"]["text"] == self.text
            self.part = None
        elif kind == "response.output_item.done":
            self._done(event["item"])

    def _done(self, item: Any) -> None:
        assert self.part is None
        assert (item["id"], item["type"]) == (self.open["id"], self.open["type"])
        assert item["status"] in ("completed", "incomplete")
        if item["type"] == "function_call":
            assert item["arguments"] == self.text
        else:
            assert [part["text"] for part in item["content"]] == [self.text]
        self.open = None
        self.output.append(item)
