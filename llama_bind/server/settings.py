"""What one server is made from: the model, how it is loaded, how the server behaves, what requests get by default.

Every name is an option of `ServerParams`, `ModelParams`, `ContextParams` or `LlamaParams`, or a default for requests
out of `SamplingParams` and `RequestParams`. Not for: reading flags or files (the command line and ``config_file`` do).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llama_bind.errors import InputError
from llama_bind.options import options_of, refuse_unknown, validate
from llama_bind.params import ContextParams, LlamaParams, ModelParams, RequestParams, SamplingParams
from llama_bind.server.params import ServerParams

__all__ = ["DEFAULTS", "LOAD", "NOT_A_DEFAULT", "Settings"]

LOAD: tuple[type[Any], ...] = (ModelParams, ContextParams, LlamaParams)
"""What a model is loaded with."""

DEFAULTS: Mapping[str, Any] = {"engine_process": True, "max_queue": 512, "n_seq_max": 16}
"""Where a server differs from a `Llama`: it outlives a crash, refuses what it cannot get to, and runs more at once."""

NOT_A_DEFAULT = frozenset({
    "echo", "suffix", "stream", "stream_options", "n", "best_of", "priority", "user", "cache_salt", "model",
    "logits_processor", "stopping_criteria", "seed",
})  # fmt: skip
"""Options of requests that make no sense for all requests; `seed` is the model's, from which each gets its own."""

_NOT_IN_DATA = frozenset(
    ["progress_callback", "abort_callback", "eval_callback", "chat_handler", "tokenizer", "vocab_only"]
)
"""Objects, which no file can hold, and what makes no server."""
_PAIRS = frozenset({"tensor_buft_overrides", "loras"})


@dataclasses.dataclass(frozen=True)
class Settings:
    """One server.

    Attributes:
        model: A file, known name or Hugging Face repository, as ``llama-bind run`` takes it; None: the default model.
        server: The server's own options.
        load: Keyword arguments of `Llama`.
        defaults: Options of requests that do not give them.
    """

    model: str | None = None
    server: ServerParams = dataclasses.field(default_factory=ServerParams)
    load: Mapping[str, Any] = dataclasses.field(default_factory=lambda: dict(DEFAULTS))
    defaults: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @classmethod
    def of(cls, model: str | Path | None = None, /, **given: Any) -> Settings:
        """Settings from a model and options by name; None stands for the default.

        Raises:
            UnknownOptionError: a name that is none of the options; names the nearest.
            InputError: a value that is not allowed.
        """
        given = {name: _plain(name, value) for name, value in given.items() if value is not None}
        refuse_unknown(given, _known(), "the server")
        server = ServerParams(**{k: v for k, v in given.items() if k in options_of(ServerParams)})
        validate(server)
        load = {**DEFAULTS, **{k: v for k, v in given.items() if any(k in options_of(c) for c in LOAD)}}
        for part in LOAD:
            validate(part(**{k: v for k, v in load.items() if k in options_of(part)}))
        defaults = {k: v for k, v in given.items() if k in _request_names()}
        calls: tuple[type[Any], ...] = (SamplingParams, RequestParams)
        for part in calls:
            validate(part(**{k: v for k, v in defaults.items() if k in options_of(part)}))
        if (server.ssl_keyfile is None) != (server.ssl_certfile is None):
            raise InputError("TLS needs both ssl_keyfile and ssl_certfile", param="ssl_certfile")
        return cls(None if model is None else str(model), server, load, defaults)


def _known() -> list[str]:
    classes: tuple[type[Any], ...] = (ServerParams, *LOAD)
    names = [name for cls in classes for name in options_of(cls)]
    return [name for name in (*names, *_request_names()) if name not in _NOT_IN_DATA]


def _request_names() -> frozenset[str]:
    return frozenset((*options_of(SamplingParams), *options_of(RequestParams))) - NOT_A_DEFAULT


def _plain(name: str, value: Any) -> Any:
    """Lists out of files as the tuples that options hold."""
    if name in _PAIRS and isinstance(value, list):
        return tuple(tuple(item) if isinstance(item, list) else item for item in value)
    return tuple(value) if isinstance(value, list) else value
