"""The PEP 517 and 660 build backend: scikit-build-core, with the vendor folder filled and the options translated first.
Compiles nothing itself.
"""

from __future__ import annotations

import os
import shlex
import sys
from typing import TypeAlias

from scikit_build_core import build as _skbuild

from buildsystem import options, vendor
from buildsystem.pin import ROOT, VendorError

Settings: TypeAlias = "dict[str, list[str] | str] | None"

__all__ = [
    "build_editable",
    "build_sdist",
    "build_wheel",
    "get_requires_for_build_editable",
    "get_requires_for_build_sdist",
    "get_requires_for_build_wheel",
    "prepare_metadata_for_build_editable",
    "prepare_metadata_for_build_wheel",
]


def _warn(message: str) -> None:
    print(f"*** llama_bind: {message}", file=sys.stderr, flush=True)


def _fill() -> None:
    try:
        vendor.fill()
    except VendorError as error:
        raise SystemExit(f"error: {error}") from None


def _prepare(settings: Settings) -> dict[str, list[str] | str]:
    """Fills the vendor folder and sets up the environment of a build; returns the settings to build with."""
    _fill()
    try:
        arguments = options.translate(shlex.split(os.environ.get("CMAKE_ARGS", "")), _warn)
    except options.OptionError as error:
        raise SystemExit(f"error: {error}") from None
    if arguments:
        os.environ["CMAKE_ARGS"] = shlex.join(arguments)
    # A compiler cache then knows the same files in another clone.
    os.environ.setdefault("CCACHE_BASEDIR", str(ROOT))
    os.environ.setdefault("CCACHE_NOHASHDIR", "1")
    return {"build-dir": options.build_folder(arguments), **(settings or {})}


def _fetching_requires() -> list[str]:
    # Some frontends build without pip, which may be needed to fetch llama.cpp.
    return [] if vendor.is_filled() else ["pip"]


def get_requires_for_build_wheel(config_settings: Settings = None) -> list[str]:
    """PEP 517."""
    return [*_skbuild.get_requires_for_build_wheel(config_settings), *_fetching_requires()]


def get_requires_for_build_editable(config_settings: Settings = None) -> list[str]:
    """PEP 660."""
    return [*_skbuild.get_requires_for_build_editable(config_settings), *_fetching_requires()]


def get_requires_for_build_sdist(config_settings: Settings = None) -> list[str]:
    """PEP 517."""
    return [*_skbuild.get_requires_for_build_sdist(config_settings), *_fetching_requires()]


def prepare_metadata_for_build_wheel(metadata_directory: str, config_settings: Settings = None) -> str:
    """PEP 517. Needs the vendor folder for its licence."""
    _fill()
    return _skbuild.prepare_metadata_for_build_wheel(metadata_directory, config_settings)


def prepare_metadata_for_build_editable(metadata_directory: str, config_settings: Settings = None) -> str:
    """PEP 660. Needs the vendor folder for its licence."""
    _fill()
    return _skbuild.prepare_metadata_for_build_editable(metadata_directory, config_settings)


def build_wheel(wheel_directory: str, config_settings: Settings = None, metadata_directory: str | None = None) -> str:
    """PEP 517."""
    return _skbuild.build_wheel(wheel_directory, _prepare(config_settings), metadata_directory)


def build_editable(
    wheel_directory: str, config_settings: Settings = None, metadata_directory: str | None = None
) -> str:
    """PEP 660. The libraries are put beside the sources, in `llama_bind/lib/native`."""
    return _skbuild.build_editable(wheel_directory, _prepare(config_settings), metadata_directory)


def build_sdist(sdist_directory: str, config_settings: Settings = None) -> str:
    """PEP 517. Carries the vendored files that a build needs."""
    _fill()
    return _skbuild.build_sdist(sdist_directory, config_settings)
