"""API keys: which of them a request brings, found in the same time whichever it is.

Not for: what a key may do; all may do the same, and their requests take turns.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from pathlib import Path

from llama_bind.errors import InputError
from llama_bind.server.params import ServerParams

__all__ = ["Keys", "read_keys"]


class Keys:
    """A set of keys. Only their digests are kept."""

    def __init__(self, keys: Iterable[str] = ()) -> None:
        digests = {_digest(key.encode("utf-8", "surrogateescape")) for key in keys}
        self._known = [(digest, f"key-{digest.hex()[:12]}") for digest in sorted(digests)]

    def __bool__(self) -> bool:
        return bool(self._known)

    def name_of(self, given: bytes) -> str | None:
        """A name for the key that says nothing of it, or None where it is none of ours."""
        digest, found = _digest(given), None
        for own, name in self._known:  # all of them, always: the time must not tell which is near
            if hmac.compare_digest(own, digest):
                found = name
        return found


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()


def read_keys(params: ServerParams) -> Keys:
    """The keys of the options and of the file that they name.

    Raises:
        InputError: an empty key, or a file that cannot be read or has none: that it guards nothing must be said.
    """
    keys = list(params.api_key or ())
    if any(not key.strip() for key in keys):
        raise InputError("an API key must not be empty", param="api_key")
    if params.api_key_file is not None:
        try:
            lines = Path(params.api_key_file).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"the keys cannot be read: {error}", param="api_key_file") from error
        found = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
        if not found:
            raise InputError(f"there is no key in {params.api_key_file}", param="api_key_file")
        keys += found
    return Keys(keys)
