"""The build backend of this distribution: scikit-build-core, unless llama-cpp-python is installed where pip runs.

Both have a package `llama_cpp`, and pip would write one over the other without a word. pip builds with the interpreter
that it installs for, so this looks there. Of a wheel that was built elsewhere only the import can tell. Not for: use.
"""

from __future__ import annotations

import sysconfig
from pathlib import Path
from typing import Any

from scikit_build_core import build

build_sdist = build.build_sdist
get_requires_for_build_sdist = build.get_requires_for_build_sdist
ORIGINAL = "llama_cpp_python-*.dist-info"


def refuse_beside_the_original() -> None:
    """Raise `RuntimeError` where llama-cpp-python is installed for this interpreter."""
    for folder in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}:
        for found in Path(folder).glob(ORIGINAL):
            raise RuntimeError(
                f"llama-cpp-python is installed ({found}); both have a package llama_cpp. Remove it first: "
                "pip uninstall llama-cpp-python"
            )


def get_requires_for_build_wheel(config_settings: dict[str, Any] | None = None) -> list[str]:
    """What a build needs; the first that pip asks, so that it ends here."""
    refuse_beside_the_original()
    return list(build.get_requires_for_build_wheel(config_settings))


def build_wheel(
    wheel_directory: str, config_settings: dict[str, Any] | None = None, metadata_directory: str | None = None
) -> str:
    """Build a wheel."""
    refuse_beside_the_original()
    return str(build.build_wheel(wheel_directory, config_settings, metadata_directory))


def build_editable(
    wheel_directory: str, config_settings: dict[str, Any] | None = None, metadata_directory: str | None = None
) -> str:
    """Build an editable wheel."""
    refuse_beside_the_original()
    return str(build.build_editable(wheel_directory, config_settings, metadata_directory))
