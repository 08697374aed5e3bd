"""``llama_cpp.server.app.create_app``: this library's application under llama-cpp-python's settings.

Not for: listening.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from llama_bind.compat.server.settings import ConfigFileSettings, ModelSettings, ServerSettings, Settings, translated
from llama_bind.errors import InputError

__all__ = ["create_app", "read_config_file"]


def create_app(
    settings: Settings | None = None,
    server_settings: ServerSettings | None = None,
    model_settings: Sequence[ModelSettings] | None = None,
) -> Any:
    """An ASGI application of FastAPI, by the arguments, else the file that CONFIG_FILE names, else the environment.

    Raises:
        InputError: a setting; or settings of the server without those of a model, or the other way round.
    """
    from llama_bind.server import create_app as ours

    path = os.environ.get("CONFIG_FILE")
    if path:
        server_settings, model_settings = read_config_file(path)
    if server_settings is None and model_settings is None:
        wanted: Any = settings if settings is not None else Settings()
        return ours(translated(wanted, [wanted]))
    if server_settings is None or not model_settings:
        raise InputError("server_settings and model_settings must be provided together", param="server_settings")
    return ours(translated(server_settings, list(model_settings)))


def read_config_file(path: str) -> tuple[ServerSettings, list[ModelSettings]]:
    """The settings in a file of llama-cpp-python's form: JSON or YAML with `models`.

    Raises:
        InputError: no such file, or no such form.
    """
    from llama_bind.server.config_file import read_config

    found = ConfigFileSettings(**read_config(path))
    if not found.models:
        raise InputError(f"the configuration {path} lists no models", param="models")
    return ServerSettings.model_validate(found), found.models
