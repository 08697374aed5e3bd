"""Which llama.cpp this package is built from. Every other place that needs the pin reads this file.

The build reads it as text, without importing the package; `buildsystem/bump.py` rewrites it. Not a list of what the
compiled library can do: ask the library itself for that.
"""

from __future__ import annotations

from typing import Final

UPSTREAM: Final = "https://github.com/ggml-org/llama.cpp"
COMMIT: Final = "0c1e57098bba43ac29e6e3b677cdceebdd22334f"
"""The commit that `vendor/llama.cpp` points at."""
TREE: Final = "b2da53584951ec8aa40680229509a6646a637560"
"""That commit's git tree hash: what the bytes must hash to, whoever served them."""
VERSION: Final = "0.5.0-dev"
"""llama.cpp's own name for its version at that commit."""
FALLBACK: Final = "llama-cpp-python==0.3.36"
"""A package whose source distribution carries exactly that commit, for when git cannot fetch it."""
