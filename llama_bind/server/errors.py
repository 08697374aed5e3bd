"""Errors on the wire: which status, type and code each error of the library has, and the body in OpenAI's shape.

What is the client's doing is told in the error's own words; of what is not, the body says only that it happened, and
the log of the server says the rest. Not for: raising (routes and the library do), or errors inside a stream (``sse``).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from llama_bind import errors

__all__ = ["TABLE", "ApiError", "Row", "api_error"]

INVALID, AUTHENTICATION, PERMISSION = "invalid_request_error", "authentication_error", "permission_error"
NOT_FOUND, RATE, SERVER, UNAVAILABLE = "not_found_error", "rate_limit_error", "server_error", "service_unavailable"


@dataclasses.dataclass(frozen=True)
class Row:
    """How one class of errors looks to a client.

    Attributes:
        status, type, code: As in OpenAI's API.
        words: What the body says; None: the error's own message.
        retry: Whether it may pass: the answer names a time after which to try again.
    """

    status: int
    type: str
    code: str
    words: str | None = None
    retry: bool = False


_INTERNAL = "The server failed on this request; its log says why."
_MODEL = "The model could not be loaded or used; the server's log says why."


def _bad(code: str) -> Row:
    return Row(400, INVALID, code)


def _own(code: str, words: str = _INTERNAL) -> Row:
    return Row(500, SERVER, code, words)


TABLE: Mapping[type[errors.LlamaBindError], Row] = {
    errors.LlamaBindError: _own("internal_error"),
    errors.LibraryError: _own("library_error"),
    errors.LibraryNotFoundError: _own("library_error"),
    errors.SymbolNotFoundError: _own("library_error"),
    errors.NativeAbortError: _own("native_error"),
    errors.ModelError: _own("model_error", _MODEL),
    errors.ModelNotFoundError: _own("model_error", _MODEL),
    errors.ModelFormatError: _own("model_error", _MODEL),
    errors.ModelLoadError: _own("model_error", _MODEL),
    errors.ModelTooLargeError: _own("model_error", _MODEL),
    errors.AdapterError: _own("model_error", _MODEL),
    errors.DownloadError: _own("model_error", _MODEL),
    errors.ChecksumError: _own("model_error", _MODEL),
    errors.ContextError: _own("context_error", _MODEL),
    errors.ContextOverflowError: _bad("context_length_exceeded"),
    errors.DecodeError: _own("decode_error"),
    errors.NoCellsError: Row(503, UNAVAILABLE, "out_of_memory", "The model's memory is full.", retry=True),
    errors.DecodeAbortedError: _own("decode_error"),
    errors.StateError: _own("state_error"),
    errors.InputError: _bad("invalid_value"),
    errors.TokenError: _bad("invalid_token"),
    errors.TextEncodingError: _bad("invalid_text"),
    errors.GrammarError: _bad("invalid_grammar"),
    errors.SchemaError: _bad("invalid_schema"),
    errors.MessageError: _bad("invalid_message"),
    errors.TemplateError: _bad("invalid_template"),
    errors.UnknownOptionError: _bad("unknown_parameter"),
    errors.UnsupportedError: _bad("unsupported"),
    errors.ClosedError: Row(503, UNAVAILABLE, "shutting_down", "The server is shutting down.", retry=True),
    errors.ForkedError: _own("internal_error"),
    errors.ReentryError: _own("internal_error"),
    errors.AliasError: _own("internal_error"),
    errors.RequestError: _own("request_error"),
    errors.CancelledError: Row(499, INVALID, "cancelled", "The request was cancelled."),
    errors.QueueFullError: Row(
        429, RATE, "queue_full", "As many requests wait as the server takes; try again later.", retry=True
    ),
    errors.DeadlineError: Row(
        504, UNAVAILABLE, "deadline_exceeded",
        "Not all texts were computed in time; ask for more time where the server gives it, or send fewer.",
        retry=True,
    ),
    errors.EngineCrashedError: Row(
        503, UNAVAILABLE, "engine_crashed",
        "The engine ended while it ran this request; another one is being started. Send the request again.", retry=True,
    ),
    errors.EngineFailedError: Row(
        503, UNAVAILABLE, "engine_failed",
        "The engine ended and cannot be started now, which is tried again; the server's log says why.", retry=True,
    ),
}  # fmt: skip
"""Every class of `llama_bind.errors`; a test holds that."""


class ApiError(Exception):
    """An answer that is an error, ready to be sent.

    Attributes:
        status: HTTP status.
        headers: Further headers.
        more: Further fields of the error object.
    """

    def __init__(
        self,
        status: int,
        type: str,
        code: str,
        message: str,
        *,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
        retry: bool = False,
        **more: Any,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.type = type
        self.code = code
        self.message = message
        self.param = param
        self.headers = dict(headers or {})
        self.retry = retry
        self.more = more

    def body(self) -> dict[str, Any]:
        """The body in OpenAI's shape."""
        fields = {"message": self.message, "type": self.type, "param": self.param, "code": self.code, **self.more}
        return {"error": fields}


def api_error(error: BaseException) -> ApiError:
    """Any exception as what the client is told."""
    if isinstance(error, ApiError):
        return error
    row = next((TABLE[cls] for cls in type(error).__mro__ if cls in TABLE), None)
    if row is None:
        return ApiError(500, SERVER, "internal_error", _INTERNAL)
    more: dict[str, Any] = {}
    if isinstance(error, errors.ContextOverflowError):
        more = {"n_prompt_tokens": error.requested, "n_ctx": error.limit}
    param = getattr(error, "param", None)
    return ApiError(row.status, row.type, row.code, row.words or str(error), param=param, retry=row.retry, **more)
