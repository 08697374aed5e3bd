"""Reads a configuration file: TOML, JSON or YAML by its ending, a table of options by name.

Not for: what the options mean (``settings``).
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from llama_bind.errors import InputError, UnsupportedError

__all__ = ["read_config"]


def read_config(path: str | Path) -> dict[str, Any]:
    """The options in a file; names may be written with hyphens.

    Raises:
        InputError: no such file, not of its format, or not a table.
        UnsupportedError: no parser for the format is installed.
    """
    path = Path(path)
    parse = _parser(path.suffix.lower(), path)
    try:
        value = parse(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"the configuration {path} cannot be read: {error}", param="config") from error
    except Exception as error:  # each parser has a class of its own for bad syntax
        text = " ".join(str(error).split())
        raise InputError(
            f"the configuration {path} is not {path.suffix[1:].upper()}: {text}", param="config"
        ) from error
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InputError(f"the configuration {path} must be a table of options by name", param="config")
    return {str(name).replace("-", "_"): item for name, item in value.items()}


def _parser(suffix: str, path: Path) -> Callable[[str], Any]:
    if suffix == ".json":
        return json.loads
    if suffix == ".toml":
        name = "tomllib" if sys.version_info >= (3, 11) else "tomli"
        loads: Callable[[str], Any] = _module(name, "TOML", "tomli").loads
        return loads
    if suffix in (".yaml", ".yml"):
        safe_load: Callable[[str], Any] = _module("yaml", "YAML", "pyyaml").safe_load
        return safe_load
    raise InputError(f"the configuration {path} must end in .toml, .json, .yaml or .yml", param="config")


def _module(name: str, kind: str, package: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        message = f"no parser for {kind} is installed: pip install {package}, or write the configuration as JSON"
        raise UnsupportedError(message) from error
