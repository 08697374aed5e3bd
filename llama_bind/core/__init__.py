"""One class per llama.cpp object: Model, Vocab, Context, Memory, Batch, Adapter, Sampler, and what they need.

Every argument is checked before native code sees it; every object frees itself; nothing here knows chat, requests or
HTTP. Not for: scheduling or text policies (``engine``), or raw C calls (``llama_bind.lib``).
"""
