"""The OpenAI-compatible HTTP server: ``python -m llama_bind.server``, ``llama-bind serve``, or `create_app`.

Needs the extra ``llama-bind[server]``. Not for: generating, queueing or templates; it passes requests to `AsyncLlama`
and answers on to clients.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llama_bind.server.app import create_app
    from llama_bind.server.settings import Settings

__all__ = ["Settings", "create_app"]


def __getattr__(name: str) -> Any:
    # Imported when first used: the command line looks at the options without FastAPI.
    if name == "create_app":
        from llama_bind.server.app import create_app

        return create_app
    if name == "Settings":
        from llama_bind.server.settings import Settings

        return Settings
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
