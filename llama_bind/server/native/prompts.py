"""Prompts as llama-server takes them: texts, token ids, both in one list, objects, and lists of all of these.

Follows ``tokenize_input_prompts`` (vendor/llama.cpp, tools/server/server-common.cpp). Not for: OpenAI's forms, which
the routes read by themselves.
"""

from __future__ import annotations

from typing import Any

from llama_bind.errors import InputError, UnsupportedError
from llama_bind.prompts import PromptReader
from llama_bind.server.errors import INVALID, ApiError

__all__ = ["read_prompt", "read_prompts", "read_text", "split_prompts"]


def split_prompts(given: Any, limit: int, param: str) -> tuple[list[Any], bool]:
    """The prompts in a field, and whether they came as a list: one with a number in it is a single prompt.

    Raises:
        ApiError: an empty list, or more than `limit`.
    """
    if not isinstance(given, list) or any(_is_id(item) for item in given):
        return [given], False
    if not given:
        raise ApiError(400, INVALID, "invalid_value", f"{param} must not be an empty list.", param=param)
    if len(given) > limit:
        message = f"{len(given)} prompts; this server takes at most {limit} in one request."
        raise ApiError(400, INVALID, "limit_exceeded", message, param=param)
    return given, True


def read_prompts(given: Any, reader: PromptReader, limit: int, param: str = "prompt") -> list[list[int]]:
    """The token ids of each prompt in a field.

    Raises:
        ApiError: see `split_prompts`.
        InputError, TokenError, UnsupportedError: see `read_prompt`.
    """
    return [read_prompt(item, reader, param) for item in split_prompts(given, limit, param)[0]]


def read_prompt(given: Any, reader: PromptReader, param: str = "prompt") -> list[int]:
    """The token ids of one prompt, at least one. Names of control tokens in a text count as those tokens.

    Raises:
        InputError: something else than a text, ids, a list of both, or an object with prompt_string.
        TokenError: an id that the vocabulary does not have.
        UnsupportedError: images or sounds.
    """
    text = read_text(given, param)
    if isinstance(text, str):
        return reader.read(text)
    tokens: list[int] = []
    for place, part in enumerate(text):
        tokens += reader.tokenize(part, place == 0, True) if isinstance(part, str) else [part]
    return reader.read(tokens)


def read_text(given: Any, param: str) -> str | list[str | int]:
    """One prompt out of its object, where it stands in one: a text, or a list of texts and token ids.

    Raises:
        InputError, UnsupportedError: as `read_prompt`.
    """
    if isinstance(given, dict):
        if given.get("multimodal_data"):
            raise UnsupportedError(f"{param}: this model takes text only, no multimodal_data")
        if "content" in given:
            return _joined(given["content"], param)
        given = given.get("prompt_string")
    if isinstance(given, str):
        return given
    if isinstance(given, list) and all(isinstance(item, str) or _is_id(item) for item in given):
        return given
    message = f"{param} must be a text, a list of token ids and texts, an object with prompt_string, or a list of those"
    raise InputError(message, param=param)


def _joined(parts: Any, param: str) -> str:
    """The text of OpenAI's content parts."""
    if not isinstance(parts, list) or not parts:
        raise InputError(f"{param}: content must be a list of parts", param=param)
    texts = []
    for part in parts:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind in ("image_url", "input_audio", "input_video"):
            raise UnsupportedError(f"{param}: this model takes text only, no {kind}")
        if kind != "text" or not isinstance(part.get("text"), str):
            raise InputError(f"{param}: a part of content is an object with type text and a text", param=param)
        texts.append(part["text"])
    return "".join(texts)


def _is_id(item: object) -> bool:
    return isinstance(item, int) and not isinstance(item, bool)
