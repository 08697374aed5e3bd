"""What constrains the output of a model: GBNF grammars, checked before native code sees them.

Pure: no native library is needed. Not for: sampling with them (``core.sampler``).
"""

from __future__ import annotations

from llama_bind.structured.grammar import LlamaGrammar

__all__ = ["LlamaGrammar"]
