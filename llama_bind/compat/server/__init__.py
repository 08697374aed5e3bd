"""``llama_cpp.server``: llama-cpp-python's flags and settings, in front of this library's server.

`python -m llama_cpp.server` starts it. Not for: routes; they are those of `llama_bind.server`, which has all of the
original's.
"""

from __future__ import annotations
