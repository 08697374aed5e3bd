"""Every error this library raises on purpose, one tree.

::

    LlamaBindError
    ├── LibraryError                    the native libraries themselves
    │   ├── LibraryNotFoundError        (OSError) no library where it was looked for
    │   ├── SymbolNotFoundError         (AttributeError) the library lacks a function
    │   └── NativeAbortError            (RuntimeError) native code failed an assertion or threw; carried here
    ├── ModelError                      (ValueError) a model or adapter file
    │   ├── ModelNotFoundError          (FileNotFoundError) no such file, or not a file
    │   ├── ModelFormatError            not a GGUF that llama.cpp can take: says what and where
    │   ├── ModelLoadError              llama.cpp refused it, with its own words
    │   ├── ModelTooLargeError          it needs more memory than there is: says how much, and what to change
    │   ├── AdapterError                a LoRA or control vector that does not fit
    │   └── DownloadError               (OSError) fetching a file failed
    │       └── ChecksumError           the bytes that came are not the bytes asked for
    ├── ContextError                    (ValueError) no context could be made with these options
    │   └── ContextOverflowError        more tokens than the context holds
    ├── DecodeError                     (RuntimeError) llama_decode or llama_encode failed
    │   ├── NoCellsError                no room in the memory for the batch
    │   └── DecodeAbortedError          the abort callback stopped it
    ├── StateError                      (ValueError) a saved state that does not fit
    ├── InputError                      (ValueError) an argument; ``param`` names it
    │   ├── TokenError                  a token id outside the vocabulary
    │   ├── TextEncodingError           text that is not valid Unicode
    │   ├── GrammarError                a grammar that does not parse: line and column
    │   ├── SchemaError                 a JSON Schema that cannot be used: keyword and path
    │   ├── MessageError                a chat message of the wrong shape
    │   └── TemplateError               a chat template that fails, loops or grows too much
    ├── UnknownOptionError              (TypeError) a keyword that does not exist; names the nearest
    ├── UnsupportedError                (ValueError) this model or build cannot do that
    ├── ClosedError                     (RuntimeError) the object was closed
    ├── ForkedError                     (RuntimeError) the object belongs to the parent process
    ├── ReentryError                    (RuntimeError) a context was used from inside its own callback
    ├── AliasError                      (ImportError) `llama_cpp` cannot be made to mean this package
    └── RequestError                    (RuntimeError) one request ended early
        ├── CancelledError              it was cancelled
        ├── QueueFullError              too many requests wait already
        ├── DeadlineError               (TimeoutError) embeddings or ranks were not there in time
        ├── EngineCrashedError          native code ended the engine's process while it ran the request
        └── EngineFailedError           the engine thread ended; carries the cause

Every class carries its facts as attributes. Builtin twins are there so that callers which catch ``ValueError``,
``OSError`` or ``RuntimeError`` keep working. Not for: warnings, or errors of the HTTP layer.
"""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

__all__ = [
    "AdapterError",
    "AliasError",
    "CancelledError",
    "ChecksumError",
    "ClosedError",
    "ContextError",
    "ContextOverflowError",
    "DeadlineError",
    "DecodeAbortedError",
    "DecodeError",
    "DownloadError",
    "EngineCrashedError",
    "EngineFailedError",
    "ForkedError",
    "GrammarError",
    "InputError",
    "LibraryError",
    "LibraryNotFoundError",
    "LlamaBindError",
    "MessageError",
    "ModelError",
    "ModelFormatError",
    "ModelLoadError",
    "ModelNotFoundError",
    "ModelTooLargeError",
    "NativeAbortError",
    "NoCellsError",
    "QueueFullError",
    "ReentryError",
    "RequestError",
    "SchemaError",
    "StateError",
    "SymbolNotFoundError",
    "TemplateError",
    "TextEncodingError",
    "TokenError",
    "UnknownOptionError",
    "UnsupportedError",
]


class LlamaBindError(Exception):
    """Base of all errors of this library. All of them can be pickled, with their attributes."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (type(self), self.args, self.__dict__)


def _restored(kind: type[LlamaBindError], arguments: tuple[Any, ...], attributes: dict[str, Any]) -> LlamaBindError:
    """An error as it was pickled; constructors that build a message from facts would build it twice."""
    builtin: Any = kind
    while builtin.__module__ != "builtins" and builtin.__base__ is not None:
        builtin = builtin.__base__  # the base that lays out the object: only its __new__ may make one
    error: LlamaBindError = builtin.__new__(kind)
    error.args = arguments
    error.__dict__.update(attributes)
    return error


class LibraryError(LlamaBindError):
    """Something about the native libraries."""


class LibraryNotFoundError(LibraryError, OSError):
    """No native library could be loaded. ``tried``: one line for each place and what happened there."""

    def __init__(self, message: str, *, tried: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.tried = tried


class SymbolNotFoundError(LibraryError, AttributeError):
    """The loaded library has no such function. ``symbol``, ``library``."""

    def __init__(self, message: str, *, symbol: str = "", library: str = "") -> None:
        super().__init__(message)
        self.symbol = symbol
        self.library = library


class NativeAbortError(LibraryError, RuntimeError):
    """Native code failed an assertion or threw an exception inside a guarded call.

    ``native_message`` is what it said. The object the call was made on may be in an undefined state: close it.
    """

    def __init__(self, message: str, *, native_message: str = "") -> None:
        super().__init__(message)
        self.native_message = native_message or message


class ModelError(LlamaBindError, ValueError):
    """A model or adapter file. ``path`` is the file, where there is one."""

    def __init__(self, message: str, *, path: str | Path | None = None) -> None:
        super().__init__(message)
        self.path = None if path is None else str(path)


class ModelNotFoundError(ModelError, FileNotFoundError):
    """There is no such file, or it is not a file."""

    __str__ = Exception.__str__


class ModelFormatError(ModelError):
    """The file is not a GGUF that llama.cpp can take. ``path``, ``reason``, ``offset`` (bytes, where known)."""

    def __init__(
        self, message: str, *, path: str | Path | None = None, reason: str = "", offset: int | None = None
    ) -> None:
        super().__init__(message, path=path)
        self.reason = reason or message
        self.offset = offset


class ModelLoadError(ModelError):
    """llama.cpp refused the model. ``log`` holds the native log lines of the failing call."""

    def __init__(self, message: str, *, path: str | Path | None = None, log: tuple[str, ...] = ()) -> None:
        super().__init__(message, path=path)
        self.log = log


class ModelTooLargeError(ModelError):
    """It needs more memory than there is. ``needed`` and ``available`` are bytes."""

    def __init__(
        self, message: str, *, path: str | Path | None = None, needed: int = 0, available: int | None = None
    ) -> None:
        super().__init__(message, path=path)
        self.needed = needed
        self.available = available


class AdapterError(ModelError):
    """A LoRA adapter or control vector cannot be used with this model."""


class DownloadError(ModelError, OSError):
    """A file could not be fetched. ``source`` says from where."""

    __str__ = Exception.__str__

    def __init__(self, message: str, *, path: str | Path | None = None, source: str = "") -> None:
        super().__init__(message, path=path)
        self.source = source


class ChecksumError(DownloadError):
    """The bytes are not the ones asked for. ``expected`` and ``actual`` are sha256 in hex."""

    def __init__(
        self, message: str, *, path: str | Path | None = None, source: str = "", expected: str = "", actual: str = ""
    ) -> None:
        super().__init__(message, path=path, source=source)
        self.expected = expected
        self.actual = actual


class ContextError(LlamaBindError, ValueError):
    """No context could be made with these options."""


class ContextOverflowError(ContextError):
    """More tokens than the context holds. ``requested`` and ``limit`` are counts of tokens."""

    def __init__(self, requested: int, limit: int, hint: str = "") -> None:
        # The first clause is a contract: other projects match it with a regular expression.
        advice = hint or "shorten the prompt or load the model with a larger n_ctx"
        super().__init__(f"Requested tokens ({requested}) exceed context window of {limit}; {advice}")
        self.requested = requested
        self.limit = limit


class DecodeError(LlamaBindError, RuntimeError):
    """``llama_decode`` or ``llama_encode`` failed. ``code`` is its return value."""

    def __init__(self, message: str, *, code: int = -1) -> None:
        super().__init__(message)
        self.code = code


class NoCellsError(DecodeError):
    """The memory has no room for the batch (return value 1)."""


class DecodeAbortedError(DecodeError):
    """The abort callback stopped the call (return value 2)."""


class StateError(LlamaBindError, ValueError):
    """A saved state that is damaged or belongs to another model or context."""


class InputError(LlamaBindError, ValueError):
    """An argument cannot be used. ``param`` names it."""

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


class TokenError(InputError):
    """A token id outside the vocabulary. ``token``, ``n_vocab``."""

    def __init__(self, token: int, n_vocab: int, *, param: str | None = None) -> None:
        super().__init__(f"token id {token} is outside the vocabulary (0 to {n_vocab - 1})", param=param)
        self.token = token
        self.n_vocab = n_vocab


class TextEncodingError(InputError):
    """Text that is not valid Unicode: a lone surrogate in a ``str``, or ``bytes`` that are not UTF-8."""


class GrammarError(InputError):
    """A grammar does not parse. ``line`` and ``column`` count from 1, where known."""

    def __init__(
        self, message: str, *, line: int | None = None, column: int | None = None, param: str | None = "grammar"
    ) -> None:
        where = f"line {line}, column {column}: " if line is not None else ""
        super().__init__(where + message, param=param)
        self.line = line
        self.column = column


class SchemaError(InputError):
    """A JSON Schema is none, contradicts itself, or asks for what no grammar can hold an output to.

    ``keyword`` is the schema keyword at fault ("" where it is the whole), ``path`` the JSON pointer of the schema it
    stands in ("" for the outermost).
    """

    def __init__(
        self, message: str, *, keyword: str = "", path: str = "", param: str | None = "response_format"
    ) -> None:
        at = f"at {path!r}, " if path else ""
        super().__init__(f"JSON Schema: {at}{keyword + ': ' if keyword else ''}{message}", param=param)
        self.keyword = keyword
        self.path = path


class MessageError(InputError):
    """A chat message of the wrong shape. ``index`` is its place in the list."""

    def __init__(self, message: str, *, index: int | None = None, param: str | None = "messages") -> None:
        super().__init__(message, param=param)
        self.index = index


class TemplateError(InputError):
    """A chat template does not compile, raised, reached for what it may not, ran too long or wrote too much."""

    def __init__(self, message: str, *, line: int | None = None, param: str | None = "chat_template") -> None:
        super().__init__(message, param=param)
        self.line = line


class UnknownOptionError(LlamaBindError, TypeError):
    """A keyword that does not exist. ``name``, and ``nearest`` when one is close."""

    def __init__(self, name: str, *, where: str, nearest: str | None = None) -> None:
        hint = f"; did you mean {nearest!r}?" if nearest else ""
        super().__init__(f"{where} got an unexpected keyword argument {name!r}{hint}")
        self.name = name
        self.nearest = nearest


class UnsupportedError(LlamaBindError, ValueError):
    """The model, or this build of the library, cannot do what was asked. ``param``: the argument, where one did."""

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


class ClosedError(LlamaBindError, RuntimeError):
    """The object was closed. ``what`` names it."""

    def __init__(self, what: str) -> None:
        super().__init__(f"{what} is closed; make a new one")
        self.what = what


class ForkedError(LlamaBindError, RuntimeError):
    """The object was made before ``os.fork`` and belongs to the parent process."""

    def __init__(self, what: str) -> None:
        super().__init__(f"{what} was made in another process; make a new one after the fork (or use 'spawn')")
        self.what = what


class ReentryError(LlamaBindError, RuntimeError):
    """A context was used from inside one of its own callbacks, in the middle of a computation. ``what`` names it."""

    def __init__(self, what: str) -> None:
        super().__init__(f"{what} was called from inside its own callback; do that after the call has returned")
        self.what = what


class AliasError(LlamaBindError, ImportError):
    """The name `llama_cpp` belongs to another package already."""


class RequestError(LlamaBindError, RuntimeError):
    """One request ended before its time."""


class CancelledError(RequestError):
    """The request was cancelled."""


class QueueFullError(RequestError):
    """As many requests wait as may (`limit`); try again later, or load with a larger max_queue."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"{limit} requests wait already; try again later, or load the model with a larger max_queue")
        self.limit = limit


class DeadlineError(RequestError, TimeoutError):
    """A call for embeddings or ranks was not done in its `timeout`, or not begun in its `queue_timeout`.

    ``computed`` of its ``total`` texts were; nothing of them is given. (A text that is generated ends at its deadline
    with what there is, and is no error.)
    """

    def __init__(self, computed: int, total: int) -> None:
        texts = "text" if total == 1 else "texts"
        super().__init__(
            f"{computed} of {total} {texts} were computed when the time was up; give a longer timeout, or fewer texts"
        )
        self.computed = computed
        self.total = total


class EngineCrashedError(RequestError):
    """The engine's process ended while it ran the request; others that only waited are run by the next one.

    ``exit_code`` as `subprocess` has it (-11: SIGSEGV), ``signal`` the signal's name or None, ``stderr`` the last lines
    that the process wrote to standard error. ``hung``: seconds for which it had not got on when it was ended for that
    (`hang_timeout`), else 0.
    """

    def __init__(self, exit_code: int, stderr: tuple[str, ...] = (), *, hung: float = 0.0) -> None:
        self.exit_code = exit_code
        self.signal = signal_name(exit_code)
        self.stderr = stderr
        self.hung = hung
        how = f"was ended by {self.signal}" if self.signal else f"ended with exit code {exit_code}"
        if hung:
            how = f"got nowhere for {hung:g} seconds and was ended"
        super().__init__(
            f"the engine's process {how} while it ran this request; another one is being started, and the request may "
            "be sent again"
        )


def signal_name(exit_code: int) -> str | None:
    """The signal that ended a process with this exit code (-11: "SIGSEGV"), None if none did."""
    if exit_code >= 0:
        return None
    try:
        return signal.Signals(-exit_code).name
    except ValueError:
        return f"signal {-exit_code}"


class EngineFailedError(RequestError):
    """The engine thread ended. ``__cause__`` says why."""
