"""GGUF files from Hugging Face repositories, over huggingface_hub (the extra ``hub``), which is imported when used.

Not for: loading models, or the names of ``catalog.py``.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fnmatch
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from llama_bind.errors import ChecksumError, DownloadError, ModelFormatError, UnsupportedError
from llama_bind.hub.catalog import find_known
from llama_bind.hub.named import file_sha256, resolve_model

__all__ = ["choose_files", "from_pretrained"]

_SHARD = re.compile(r"^(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf$")
"""Names of split files (llama_split_path in llama.h)."""

_COMPANIONS = ("mmproj", "imatrix", "mtp-")
"""What names of files beside a model begin with or contain that are not the model itself."""


def from_pretrained(
    repo_id: str,
    filename: str | None = None,
    *,
    revision: str | None = None,
    token: str | bool | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    local_dir: str | os.PathLike[str] | None = None,
    additional_files: Sequence[str] = (),
    local_files_only: bool = False,
) -> Path:
    """Fetch a GGUF file from a Hugging Face repository, or find it in the cache; the first one of a split set.

    Args:
        repo_id: ``owner/name``; ``owner/name:Q4_K_M`` chooses the file of that quantization; a known name of this
            library (see `resolve_model`) when `filename` is None.
        filename: A file or a pattern (``*q8_0.gguf``) that one file matches, or one split set. None: ``*.gguf``.
        revision: A branch, tag or commit.
        token: An access token; None: the one that huggingface_hub finds by itself, False: none.
        cache_dir: Where to keep files instead of Hugging Face's cache.
        local_dir: Lay the files down in this folder, under their own names.
        additional_files: More files or patterns to fetch, e.g. the ``mmproj`` file of a vision model.
        local_files_only: Use no network.

    Returns:
        The path of the model file.

    Raises:
        UnsupportedError: huggingface_hub is not installed.
        DownloadError: no such repository, revision or file; several files match (all are listed); no network and
            nothing in the cache.
        ChecksumError: the bytes are not those that the repository lists.
        ModelFormatError: the file is not a GGUF.
    """
    if filename is None and find_known(repo_id) is not None:
        return resolve_model(repo_id)
    repo_id, quantization = _split_repo(repo_id)
    if quantization is not None and filename is not None:
        raise DownloadError(f"give either a filename or a quantization, not both ({filename!r}, {quantization!r})")
    request = _Request(
        repo_id,
        revision,
        token,
        None if cache_dir is None else Path(cache_dir),
        None if local_dir is None else Path(local_dir),
        local_files_only,
    )
    listing = request.listing()
    chosen = choose_files(list(listing), filename, quantization, request.source)
    extra = [name for pattern in additional_files for name in _matching(listing, pattern, request.source)]
    paths = [request.fetch(name, listing[name]) for name in (*chosen, *extra)]
    _check_magic(paths[0])
    return paths[0]


def choose_files(names: Sequence[str], filename: str | None, quantization: str | None, source: str) -> list[str]:
    """The files of the one model that is meant: one name, or all shards of one split set in order.

    Args:
        names: All files of the repository, with slashes.
        filename: A name or a pattern; None: any GGUF that is not a companion of a model.
        quantization: A part of the name between separators, in any letter case, e.g. ``q4_k_m``.
        source: How messages name the repository.

    Raises:
        DownloadError: none or several match; lists the candidates.
    """
    models = [n for n in names if n.lower().endswith(".gguf")]
    if filename is not None:
        found = _glob(names, filename)
        wanted = repr(filename)
    else:
        found = [n for n in models if not _is_companion(n)]
        wanted = "*.gguf"
    if quantization is not None:
        found = [n for n in found if _has_quantization(n, quantization)]
        wanted = f"the quantization {quantization!r}"
    sets: dict[str, list[str]] = {}
    for name in found:
        sets.setdefault(_set_of(name), []).append(name)
    if len(sets) != 1:
        what = "no file matches" if not sets else "several files match"
        candidates = sorted(found if sets else models) or ["(the repository has no GGUF file)"]
        raise DownloadError(
            f"{source}: {what} {wanted}; name one of these as the filename: " + ", ".join(candidates), source=source
        )
    return _whole_set(next(iter(sets.values())), names, source)


def _whole_set(found: Sequence[str], names: Sequence[str], source: str) -> list[str]:
    match = _SHARD.match(found[0])
    if match is None:
        return list(found)
    count = int(match["count"])
    whole = [f"{match['stem']}-{i:05d}-of-{count:05d}.gguf" for i in range(1, count + 1)]
    missing = sorted(set(whole) - set(names))
    if missing:
        raise DownloadError(f"{source}: the split model lacks " + ", ".join(missing), source=source)
    return whole


def _set_of(name: str) -> str:
    match = _SHARD.match(name)
    return f"{match['stem']}-{match['count']}" if match else name


def _glob(names: Sequence[str], pattern: str) -> list[str]:
    if pattern in names:
        return [pattern]
    # A pattern without a slash also matches files in folders, by their last part.
    return [
        n for n in names if fnmatch.fnmatch(n, pattern) or ("/" not in pattern and fnmatch.fnmatch(_last(n), pattern))
    ]


def _matching(names: dict[str, str | None], pattern: str, source: str) -> list[str]:
    found = _glob(list(names), pattern)
    if not found:
        raise DownloadError(f"{source}: no file matches {pattern!r}", source=source)
    return found


def _last(name: str) -> str:
    return PurePosixPath(name).name


def _is_companion(name: str) -> bool:
    last = _last(name).lower()
    return any(last.startswith(mark) or f"-{mark}" in last for mark in _COMPANIONS)


def _has_quantization(name: str, quantization: str) -> bool:
    return re.search(rf"(?<![a-z0-9]){re.escape(quantization.lower())}(?![a-z0-9_])", name.lower()) is not None


def _split_repo(repo_id: str) -> tuple[str, str | None]:
    match = re.fullmatch(r"(?P<name>[\w.-]+(?:/[\w.-]+)?)(?::(?P<quantization>[\w.-]+))?", repo_id)
    if match is None:
        raise DownloadError(f"{repo_id!r} is not a repository: write owner/name or owner/name:quantization")
    return match["name"], match["quantization"]


def _check_magic(path: Path) -> None:
    with path.open("rb") as file:
        if file.read(4) != b"GGUF":
            raise ModelFormatError(
                f"{path} came from the repository but is not a GGUF file", path=path, reason="wrong magic", offset=0
            )


@dataclasses.dataclass(frozen=True)
class _Request:
    """What all calls about one repository share."""

    repo_id: str
    revision: str | None
    token: str | bool | None
    cache_dir: Path | None
    local_dir: Path | None
    local_files_only: bool

    @property
    def source(self) -> str:
        return self.repo_id if self.revision is None else f"{self.repo_id} at {self.revision}"

    def listing(self) -> dict[str, str | None]:
        """The repository's files, each with its sha256 where the hub tells one; without a network, what is cached."""
        if not self.local_files_only:
            with _hub_errors(self):
                from huggingface_hub import HfApi
                from huggingface_hub.hf_api import RepoFile

                try:
                    tree = HfApi().list_repo_tree(
                        self.repo_id, recursive=True, revision=self.revision, token=self.token
                    )
                    files = [entry for entry in tree if isinstance(entry, RepoFile)]
                except Exception as error:
                    cached = self._cached() if _is_network(error) else {}
                    if not cached:
                        raise
                    return cached
                return {f.path: None if f.lfs is None else f.lfs.sha256 for f in files}
        with _hub_errors(self):
            cached = self._cached()
        if not cached:
            raise DownloadError(
                f"{self.source} is not on this machine, and the network may not be used", source=self.source
            )
        return cached

    def _cached(self) -> dict[str, str | None]:
        if self.local_dir is not None:
            root: Path | None = self.local_dir
        else:
            root = self._snapshot()
        if root is None or not root.is_dir():
            return {}
        files = (p for p in root.rglob("*") if p.is_file() and ".cache" not in p.relative_to(root).parts)
        return {p.relative_to(root).as_posix(): None for p in files}

    def _snapshot(self) -> Path | None:
        from huggingface_hub import scan_cache_dir
        from huggingface_hub.errors import CacheNotFound

        try:
            cache = scan_cache_dir(self.cache_dir)
        except CacheNotFound:
            return None
        wanted = self.revision or "main"
        for repository in cache.repos:
            if repository.repo_id == self.repo_id and repository.repo_type == "model":
                for revision in repository.revisions:
                    if wanted in revision.refs or revision.commit_hash == wanted:
                        return Path(revision.snapshot_path)
        return None

    def fetch(self, name: str, sha256: str | None) -> Path:
        """The file on this machine; its hash is checked when it has just come."""
        with _hub_errors(self):
            from huggingface_hub import hf_hub_download, try_to_load_from_cache

            before = self.local_dir / name if self.local_dir is not None else None
            if before is None:
                known = try_to_load_from_cache(self.repo_id, name, cache_dir=self.cache_dir, revision=self.revision)
                before = Path(known) if isinstance(known, str) else None
            old = _identity(before)
            path = Path(
                hf_hub_download(
                    self.repo_id,
                    name,
                    revision=self.revision,
                    token=self.token,
                    cache_dir=self.cache_dir,
                    local_dir=self.local_dir,
                    local_files_only=self.local_files_only,
                )
            )
        if sha256 is not None and _identity(path) != old:
            self._verify(path, sha256)
        return path

    def _verify(self, path: Path, sha256: str) -> None:
        actual = file_sha256(path)
        if actual == sha256:
            return
        # The snapshot is a link to the bytes: without both, the next call fetches anew.
        path.resolve().unlink(missing_ok=True)
        path.unlink(missing_ok=True)
        raise ChecksumError(
            f"{self.source}: {path.name} came with sha256 {actual} instead of {sha256}; it was deleted, try again",
            path=path,
            source=self.source,
            expected=sha256,
            actual=actual,
        )


def _identity(path: Path | None) -> tuple[int, int, int] | None:
    try:
        status = None if path is None else path.stat()
    except OSError:
        return None
    return None if status is None else (status.st_ino, status.st_size, status.st_mtime_ns)


_HTTP_LIBRARIES = ("httpx", "httpx2", "requests", "urllib3")
"""What versions of huggingface_hub speak HTTP with; their errors come through as they are."""


def _is_network(error: BaseException) -> bool:
    """Whether the hub could not be reached or could not serve (and not: it said no)."""
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    if isinstance(error, HfHubHTTPError):
        response = getattr(error, "response", None)
        return response is not None and response.status_code >= 500
    return isinstance(error, (OfflineModeIsEnabled, ConnectionError, TimeoutError)) or _from_http_library(error)


def _from_http_library(error: BaseException) -> bool:
    return any(kind.__module__.partition(".")[0] in _HTTP_LIBRARIES for kind in type(error).__mro__)


@contextlib.contextmanager
def _hub_errors(request: _Request) -> Iterator[None]:
    """Turn what huggingface_hub raises into this library's errors."""
    try:
        import huggingface_hub.errors as hub
    except ImportError as error:
        raise UnsupportedError(
            'fetching from Hugging Face needs huggingface_hub: pip install "llama-bind[hub]"'
        ) from error
    source = request.source
    try:
        yield
    except hub.GatedRepoError as error:
        raise DownloadError(
            f"{source} is gated: accept its terms on its page, then log in with `hf auth login` or give a token",
            source=source,
        ) from error
    except hub.RepositoryNotFoundError as error:
        raise DownloadError(
            f"there is no repository {request.repo_id}, or it is private and needs a token", source=source
        ) from error
    except hub.RevisionNotFoundError as error:
        raise DownloadError(f"{request.repo_id} has no revision {request.revision!r}", source=source) from error
    except hub.LocalEntryNotFoundError as error:
        raise DownloadError(f"{source}: no network, and the file is not in the cache", source=source) from error
    except hub.EntryNotFoundError as error:
        raise DownloadError(f"{source} has no such file: {_first_line(error)}", source=source) from error
    except hub.HFValidationError as error:
        raise DownloadError(f"{request.repo_id!r} is not a repository: {_first_line(error)}", source=source) from error
    except (DownloadError, ModelFormatError):
        raise
    except Exception as error:
        if isinstance(error, OSError) or _from_http_library(error):
            raise DownloadError(f"{source} could not be fetched: {_first_line(error)}", source=source) from error
        raise


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
