"""The package `llama_cpp`, by llama-bind: importing it makes all of `llama_cpp` mean `llama_bind.compat`.

For programs that cannot be edited; others call ``llama_bind.install_as_llama_cpp()``. Not for: use beside
llama-cpp-python, whose package has the same name.
"""

from __future__ import annotations

import importlib.metadata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llama_bind.compat import __getattr__ as __getattr__  # every name that is not here is that package's

__llama_bind__ = True
ORIGINAL = "llama-cpp-python"


def _refuse_beside_the_original() -> None:
    from llama_bind.errors import AliasError

    try:
        version = importlib.metadata.version(ORIGINAL)
    except importlib.metadata.PackageNotFoundError:
        return
    raise AliasError(
        f"{ORIGINAL} {version} and llama-bind-as-llama-cpp are both installed, and one has overwritten files of the "
        f"other. Remove both and install the one that is meant: pip uninstall {ORIGINAL} llama-bind-as-llama-cpp"
    )


_refuse_beside_the_original()

import llama_bind  # noqa: E402  # nothing of it before the check

llama_bind.install_as_llama_cpp()
