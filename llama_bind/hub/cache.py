"""Where model files lie on this machine, and one process at a time writing there.

Not for: fetching them.
"""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from llama_bind.errors import DownloadError
from llama_bind.filelock import locked
from llama_bind.hub.catalog import KNOWN_MODELS, KnownModel

__all__ = ["CachedModel", "cache_folder", "cached_models", "installed_file", "locked", "writable_cache_folder"]

ENVIRONMENT = "LLAMA_BIND_CACHE"


def cache_folder() -> Path:
    """The folder of model files, which need not exist.

    ``LLAMA_BIND_CACHE`` when set; else ``llama_bind/cache`` in ``%LOCALAPPDATA%`` on Windows,
    ``~/Library/Caches/llama_bind`` on macOS, ``$XDG_CACHE_HOME/llama_bind`` or ``~/.cache/llama_bind`` elsewhere.
    """
    named = os.environ.get(ENVIRONMENT)
    if named:
        return Path(named).expanduser()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "llama_bind" / "cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "llama_bind"
    named = os.environ.get("XDG_CACHE_HOME", "")
    # The specification of XDG says that a relative path is to be ignored.
    base = Path(named) if os.path.isabs(named) else Path.home() / ".cache"
    return base / "llama_bind"


def writable_cache_folder() -> Path:
    """`cache_folder`, made when missing. Raises `DownloadError` when it cannot be."""
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DownloadError(
            f"cannot make the cache folder {folder}: {error.strerror}; set {ENVIRONMENT} to one that can be written",
            path=folder,
        ) from error
    return folder


def installed_file(model: KnownModel) -> Path | None:
    """The model's file in an installed package (which is not imported), or None."""
    from importlib import metadata

    try:
        found = Path(str(metadata.distribution(model.package).locate_file(model.member)))
    except metadata.PackageNotFoundError:
        return None
    return found if has_size(found, model.size) else None


def has_size(path: Path, size: int) -> bool:
    """Whether `path` is a file of that many bytes."""
    try:
        return path.is_file() and path.stat().st_size == size
    except OSError:
        return False


@dataclasses.dataclass(frozen=True)
class CachedModel:
    """A model file on this machine.

    Attributes:
        name: What to give `resolve_model` or `from_pretrained`: a known name, ``owner/repo/file``, or a path.
        path: The file.
        size: Bytes.
        source: ``cache`` (this library's folder), ``package`` (an installed package) or ``hub`` (Hugging Face's cache).
    """

    name: str
    path: Path
    size: int
    source: str


def cached_models() -> list[CachedModel]:
    """The GGUF files on this machine, by name.

    In the cache folder, in installed packages that carry one, and, when ``huggingface_hub`` is installed, in
    Hugging Face's cache.
    """
    found = [*_in_folder(), *_in_packages(), *_in_hub_cache()]
    return sorted(found, key=lambda m: (m.name.casefold(), str(m.path)))


def _in_folder() -> Iterator[CachedModel]:
    names = {m.filename: m for m in KNOWN_MODELS}
    for path in sorted(cache_folder().glob("*.gguf")):
        if path.is_file():
            size = path.stat().st_size
            known = names.get(path.name)
            yield CachedModel(known.name if known and known.size == size else str(path), path, size, "cache")


def _in_packages() -> Iterator[CachedModel]:
    for model in KNOWN_MODELS:
        path = installed_file(model)
        if path is not None:
            yield CachedModel(model.name, path, model.size, "package")


def _in_hub_cache() -> Iterator[CachedModel]:
    try:
        from huggingface_hub import scan_cache_dir
        from huggingface_hub.constants import HF_HUB_CACHE
        from huggingface_hub.errors import CacheNotFound
    except ImportError:
        return
    try:
        repositories = scan_cache_dir(HF_HUB_CACHE).repos
    except CacheNotFound:
        return
    for repository in repositories:
        if repository.repo_type != "model":
            continue
        newest: dict[str, CachedModel] = {}
        for revision in sorted(repository.revisions, key=lambda r: r.last_modified):
            for file in revision.files:
                if file.file_name.endswith(".gguf"):
                    relative = file.file_path.relative_to(revision.snapshot_path).as_posix()
                    name = f"{repository.repo_id}/{relative}"
                    newest[name] = CachedModel(name, file.file_path, file.size_on_disk, "hub")
        yield from newest.values()
