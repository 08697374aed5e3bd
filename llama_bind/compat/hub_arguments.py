"""Arguments of `from_pretrained` about files, as options of ``hub``. Not for: fetching."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["read"]


def read(
    given: Mapping[str, Any] | None,
    additional_files: Sequence[str] | None,
    local_dir: str | os.PathLike[str] | None,
    cache_dir: str | os.PathLike[str] | None,
) -> dict[str, Any]:
    """The options of `hub.from_pretrained` that were given."""
    named = {"additional_files": additional_files, "local_dir": local_dir, "cache_dir": cache_dir}
    return {**{name: value for name, value in named.items() if value is not None}, **(given or {})}
