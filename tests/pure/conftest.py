"""Settings of the property tests: no deadline for one example, which a busy machine misses without any fault."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("llama_bind", deadline=None)
settings.load_profile("llama_bind")
