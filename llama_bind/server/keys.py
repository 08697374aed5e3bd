"""API keys: which of them a request brings, found in the same time whichever it is; their file, with limits of single
keys.

Not for: counting what a key uses (``accounts``).
"""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
from collections.abc import Iterable, Mapping
from pathlib import Path

from llama_bind.errors import InputError
from llama_bind.options import nearest
from llama_bind.server.accounts import Limits
from llama_bind.server.params import ServerParams

__all__ = ["Keys", "read_keys"]


class Keys:
    """A set of keys. Only their digests are kept.

    Args:
        keys: The keys.
        limits: Those of single keys.

    Attributes:
        limits: The same by the keys' names.
    """

    def __init__(self, keys: Iterable[str] = (), limits: Mapping[str, Limits] | None = None) -> None:
        digests = {_digest(key.encode("utf-8", "surrogateescape")) for key in keys}
        self._known = [(digest, _name(digest)) for digest in sorted(digests)]
        self.limits = {_name(_digest(key.encode("utf-8"))): own for key, own in (limits or {}).items()}

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


def _name(digest: bytes) -> str:
    return f"key-{digest.hex()[:12]}"


def read_keys(params: ServerParams) -> Keys:
    """The keys of the options and of the file that they name.

    Raises:
        InputError: an empty key, a setting that is none, or a file that cannot be read or has no keys: that it guards
            nothing must be said.
    """
    keys = [*(params.api_key or ()), *(params.admin_api_key or ())]
    if any(not key.strip() for key in keys):
        raise InputError("an API key must not be empty", param="api_key")
    limits: dict[str, Limits] = {}
    if params.api_key_file is not None:
        try:
            lines = Path(params.api_key_file).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"the keys cannot be read: {error}", param="api_key_file") from error
        for number, line in enumerate(lines, 1):
            words = line.split()
            if words and not words[0].startswith("#"):
                limits[words[0]] = _limits(words[1:], f"{params.api_key_file}, line {number}")
        if not limits:
            raise InputError(f"there is no key in {params.api_key_file}", param="api_key_file")
    return Keys([*keys, *limits], limits)


def _limits(words: Iterable[str], where: str) -> Limits:
    """What follows a key on its line: ``name=number`` each."""
    known = [field.name for field in dataclasses.fields(Limits)]
    given: dict[str, int] = {}
    for word in words:
        name, sign, value = word.partition("=")
        if not sign or name not in known:
            close = nearest(name, known)
            hint = f"did you mean {close}?" if close else f"there are {', '.join(known)}"
            # The word itself may be part of a key with a space in it, and is not shown.
            raise InputError(f"{where}: what follows a key is name=number; {hint}", param="api_key_file")
        digits = value.removeprefix("-") if name == "priority" else value
        number = int(value) if digits.isascii() and digits.isdigit() and len(digits) < 13 else None
        if number is None or (name != "priority" and number < 1):
            raise InputError(f"{where}: {name} must be a whole number of at least 1", param="api_key_file")
        given[name] = number
    if abs(given.get("priority", 0)) > 1000:
        raise InputError(f"{where}: priority must be from -1000 to 1000", param="api_key_file")
    return Limits(**given)
