"""The settings of llama-cpp-python's server: their names, read from keywords or the environment, and what they mean.

Unset ones are left to `llama_bind.server`. Not for: flags (``__main__``), or options that only this library has.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from llama_bind.compat.chat_handlers import native_format
from llama_bind.compat.loading import warn_once
from llama_bind.errors import InputError
from llama_bind.options import refuse_unknown
from llama_bind.server.settings import Settings as Ours

__all__ = ["ConfigFileSettings", "ModelSettings", "ServerSettings", "Settings", "read_text", "translated"]

Kind = Callable[[str], Any]


def _flag(text: str) -> bool:
    if text.lower() in ("1", "true", "yes", "on", "t", "y"):
        return True
    if text.lower() in ("0", "false", "no", "off", "f", "n"):
        return False
    raise ValueError(f"{text!r} is neither true nor false")


def _number_or_flag(text: str) -> bool | int:
    return int(text) if text.lstrip("-").isdigit() else _flag(text)


def _json(text: str) -> Any:
    return json.loads(text)


def _listed(kind: Kind) -> Kind:
    """A list as JSON, or with commas between its items."""

    def read(text: str) -> Any:
        return json.loads(text) if text.lstrip().startswith("[") else [kind(item) for item in text.split(",")]

    return read


SERVER: Mapping[str, Kind] = {
    "host": str, "port": int, "ssl_keyfile": str, "ssl_certfile": str, "api_key": str, "interrupt_requests": _flag,
    "disable_ping_events": _flag, "root_path": str,
}  # fmt: skip
"""Name -> what its text means, of the settings of the server."""
MODEL: Mapping[str, Kind] = {
    "model": str, "model_alias": str, "n_gpu_layers": int, "split_mode": int, "main_gpu": int,
    "tensor_split": _listed(float), "vocab_only": _flag, "use_mmap": _flag, "use_mlock": _flag,
    "kv_overrides": _listed(str), "rpc_servers": str, "seed": int, "n_ctx": int, "n_batch": int, "n_ubatch": int,
    "n_threads": int, "n_threads_batch": int, "rope_scaling_type": int, "rope_freq_base": float,
    "rope_freq_scale": float, "yarn_ext_factor": float, "yarn_attn_factor": float, "yarn_beta_fast": float,
    "yarn_beta_slow": float, "yarn_orig_ctx": int, "mul_mat_q": _flag, "logits_all": _flag, "embedding": _flag,
    "offload_kqv": _flag, "flash_attn": _flag, "last_n_tokens_size": int, "lora_base": str, "lora_path": str,
    "numa": _number_or_flag, "chat_format": str, "chat_template_kwargs": _json, "clip_model_path": str,
    "cache": _flag, "cache_type": str, "cache_size": int, "hf_tokenizer_config_path": str,
    "hf_pretrained_model_name_or_path": str, "hf_model_repo_id": str, "draft_model": str,
    "draft_model_num_pred_tokens": int, "type_k": int, "type_v": int, "verbose": _flag,
}  # fmt: skip
"""Likewise of a model."""

_NOTHING: Mapping[str, str] = {
    "interrupt_requests": "no request interrupts another here",
    "disable_ping_events": "set keep_alive_comments",
    "mul_mat_q": "llama.cpp chooses by itself",
    "lora_base": "adapters are applied to any model",
    "chat_template_kwargs": "requests give them",
    "clip_model_path": "images are not supported",
    "hf_tokenizer_config_path": "the model file brings its tokenizer and template",
    "hf_pretrained_model_name_or_path": "the model file brings its tokenizer and template",
    "logits_all": "",
}
"""Settings that do nothing here, and why; "" for nothing to say."""
_SAME = frozenset({*MODEL, *SERVER}) - frozenset((
    *_NOTHING, "model", "model_alias", "kv_overrides", "rpc_servers", "chat_format", "cache", "cache_type",
    "cache_size", "hf_model_repo_id", "draft_model", "draft_model_num_pred_tokens", "n_threads", "n_threads_batch",
    "vocab_only",
))  # fmt: skip
"""Settings that are options here, under the same name."""


def read_text(name: str, kind: Kind, text: str) -> Any:
    """The value that a text stands for; raises `InputError` when it stands for none."""
    try:
        return kind(text)
    except ValueError as error:
        raise InputError(f"{name}: {error}", param=name) from error


class _Settings:
    """Settings by name: those that were given, then those that the environment has under the name in capitals."""

    names: ClassVar[Mapping[str, Kind]] = {}

    def __init__(self, **given: Any) -> None:
        refuse_unknown(given, self._known(), type(self).__name__)
        self.given = {name: value for name, value in given.items() if value is not None}
        for name, kind in self.names.items():
            text = os.environ.get(name.upper())
            if text and name not in self.given:
                self.given[name] = read_text(name, kind, text)

    @classmethod
    def _known(cls) -> list[str]:
        return list(cls.names)

    def __getattr__(self, name: str) -> Any:
        if name in type(self)._known():
            return self.__dict__.get("given", {}).get(name)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in self.given.items())})"

    @classmethod
    def model_validate(cls, given: Any) -> Any:
        """Settings of this kind out of a mapping, or out of other settings."""
        values = given.given if isinstance(given, _Settings) else dict(given)
        return cls(**{name: value for name, value in values.items() if name in cls._known()})

    def model_dump(self) -> dict[str, Any]:
        """What was given, by name."""
        return dict(self.given)


class ServerSettings(_Settings):
    """The server's own settings."""

    names = SERVER


class ModelSettings(_Settings):
    """What a model is loaded with, and how it is called."""

    names = MODEL


class Settings(_Settings):
    """Both together, for one model."""

    names: ClassVar[Mapping[str, Kind]] = {**SERVER, **MODEL}


class ConfigFileSettings(_Settings):
    """What a configuration file holds: settings of the server, and `models`."""

    names = SERVER

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.models = [
            one if isinstance(one, ModelSettings) else ModelSettings(**one) for one in self.given.pop("models", ())
        ]

    @classmethod
    def _known(cls) -> list[str]:
        return [*cls.names, "models"]


def translated(server: _Settings, models: Sequence[_Settings], further: Mapping[str, Any] | None = None) -> Ours:
    """The settings of this library's server.

    Args:
        server: Those of the server.
        models: Those of each model.
        further: Options of this library, which come before.

    Raises:
        InputError: a value that is not allowed.
        DownloadError: a repository whose file cannot be had.
    """
    common = {name: value for name, value in server.given.items() if name in SERVER and name in _SAME}
    if "api_key" in common:
        common["api_key"] = (common["api_key"],)
    for name in server.given:
        _say_nothing(name)
    if len(models) == 1:
        model, options, alias = _model(models[0])
        if alias is not None:
            options["model_alias"] = (alias,)
        return Ours.of(model, **{**common, **options, **(further or {})})
    tables = []
    for one in models:
        model, options, alias = _model(one)
        tables.append({**options, "model": model, **({"name": alias} if alias is not None else {})})
    return Ours.of(models=tables, **{**common, **(further or {})})


def _model(settings: _Settings) -> tuple[str | None, dict[str, Any], str | None]:
    """The model, its options here, and its alias."""
    given = {name: value for name, value in settings.given.items() if name in MODEL}
    for name in given:
        _say_nothing(name)
    options = {name: value for name, value in given.items() if name in _SAME}
    options.update({n: v for n, v in given.items() if n in ("n_threads", "n_threads_batch") and v > 0})
    if native_format(given.get("chat_format")) is not None:
        options["chat_format"] = native_format(given["chat_format"])
    if given.get("rpc_servers"):
        options["rpc_servers"] = tuple(given["rpc_servers"].split(","))
    if given.get("kv_overrides"):
        options["kv_overrides"] = dict(_override(text) for text in given["kv_overrides"])
    options.update(_cache(given))
    if given.get("draft_model"):
        options["draft_model"] = _draft_model(given["draft_model"])
        options["draft_max"] = given.get("draft_model_num_pred_tokens", 10)
    return _file(given), options, given.get("model_alias")


def _say_nothing(name: str) -> None:
    if _NOTHING.get(name):
        warn_once(name, "llama_cpp.server", _NOTHING[name])


def _file(given: Mapping[str, Any]) -> str | None:
    """A path, or the file of a repository, fetched or found in the cache."""
    repository, model = given.get("hf_model_repo_id"), given.get("model")
    if repository is None:
        return model
    from llama_bind.hub import from_pretrained

    return str(from_pretrained(repository, model))


def _draft_model(name: str) -> str:
    return "prompt-lookup" if name == "prompt-lookup-decoding" else name


def _cache(given: Mapping[str, Any]) -> dict[str, Any]:
    if not given.get("cache"):
        return {}
    size = given.get("cache_size", 2 << 30)
    if given.get("cache_type") == "disk":
        return {"cache_dir": ".cache/llama_cache", "cache_dir_bytes": size}
    return {"cache_ram_bytes": size}


_KINDS: Mapping[str, Kind] = {"int": int, "float": float, "bool": _flag, "str": str}


def _override(text: str) -> tuple[str, Any]:
    """``key=type:value`` as an item of a mapping."""
    key, _, rest = text.partition("=")
    kind, _, value = rest.partition(":")
    if not key or kind not in _KINDS:
        raise InputError(f"kv_overrides are written key=type:value, not {text!r}", param="kv_overrides")
    return key, read_text("kv_overrides", _KINDS[kind], value)
