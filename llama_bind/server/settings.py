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
from llama_bind.hub import DEFAULT_MODEL
from llama_bind.options import options_of, refuse_unknown, validate
from llama_bind.params import ChatParams, ContextParams, LlamaParams, ModelParams, RequestParams, SamplingParams
from llama_bind.server.params import ServerParams

__all__ = ["DEFAULTS", "LOAD", "NOT_A_DEFAULT", "Settings", "known_options"]

LOAD: tuple[type[Any], ...] = (ModelParams, ContextParams, LlamaParams)
"""What a model is loaded with."""

DEFAULTS: Mapping[str, Any] = {"engine_process": True, "max_queue": 512, "n_seq_max": 16}
"""Where a server differs from a `Llama`: it outlives a crash, refuses what it cannot get to, and runs more at once."""

NOT_A_DEFAULT = frozenset({
    "echo", "suffix", "stream", "stream_options", "n", "best_of", "priority", "user", "cache_salt", "model",
    "logits_processor", "stopping_criteria", "seed", "return_progress", "timings_per_token", "post_sampling_probs",
    "add_generation_prompt", "continue_final_message",
})  # fmt: skip
"""Options of requests that make no sense for all requests; `seed` is the model's, from which each gets its own."""

OF_CHATS = frozenset({"enable_thinking", "reasoning_effort", "reasoning_budget", "reasoning_format"})
"""Options of chats that can be a default for all of them."""

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
        name, aliases: What clients call the model; None: after its file.
        preload: Whether it is loaded at the start, where there are several.
        idle_timeout: Its own; None: the server's.
        models: Where there are several, each as the settings of a server of its own.
    """

    model: str | None = None
    server: ServerParams = dataclasses.field(default_factory=ServerParams)
    load: Mapping[str, Any] = dataclasses.field(default_factory=lambda: dict(DEFAULTS))
    defaults: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    name: str | None = None
    aliases: tuple[str, ...] = ()
    preload: bool = False
    idle_timeout: float | None = None
    models: tuple[Settings, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """What clients may call the model; it is listed under the first."""
        if self.name is not None:
            return (self.name, *self.aliases)
        if self.server.model_alias:
            return tuple(self.server.model_alias)
        if self.model is not None:
            return (Path(self.model).name.removesuffix(".gguf"),)  # where the file lies is nobody's business
        return (DEFAULT_MODEL,)

    @classmethod
    def of(cls, model: str | Path | None = None, /, *, models: Any = None, **given: Any) -> Settings:
        """Settings from a model and options by name; None stands for the default.

        Args:
            model: The model.
            models: In place of one: several, each a table with options of its own above the common ones.
            given: The options.

        Raises:
            UnknownOptionError: a name that is none of the options; names the nearest.
            InputError: a value that is not allowed.
        """
        if models is not None:
            from llama_bind.server.sections import several

            return several(model, models, given)
        given = {name: _plain(name, value) for name, value in given.items() if value is not None}
        refuse_unknown(given, known_options(), "the server")
        server = ServerParams(**{k: v for k, v in given.items() if k in options_of(ServerParams)})
        validate(server)
        load = {**DEFAULTS, **{k: v for k, v in given.items() if any(k in options_of(c) for c in LOAD)}}
        for part in LOAD:
            validate(part(**{k: v for k, v in load.items() if k in options_of(part)}))
        defaults = {k: v for k, v in given.items() if k in _request_names()}
        calls: tuple[type[Any], ...] = (SamplingParams, RequestParams, ChatParams)
        for part in calls:
            validate(part(**{k: v for k, v in defaults.items() if k in options_of(part)}))
        if (server.ssl_keyfile is None) != (server.ssl_certfile is None):
            raise InputError("TLS needs both ssl_keyfile and ssl_certfile", param="ssl_certfile")
        return cls(None if model is None else str(model), server, load, defaults)


def known_options() -> list[str]:
    """Names of all options that settings are made of."""
    classes: tuple[type[Any], ...] = (ServerParams, *LOAD)
    names = [name for cls in classes for name in options_of(cls)]
    return [name for name in (*names, *_request_names()) if name not in _NOT_IN_DATA]


def _request_names() -> frozenset[str]:
    return frozenset((*options_of(SamplingParams), *options_of(RequestParams), *OF_CHATS)) - NOT_A_DEFAULT


def _plain(name: str, value: Any) -> Any:
    """Lists out of files as the tuples that options hold."""
    if name in _PAIRS and isinstance(value, list):
        return tuple(tuple(item) if isinstance(item, list) else item for item in value)
    return tuple(value) if isinstance(value, list) else value
