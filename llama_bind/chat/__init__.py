"""Chat messages to a prompt: checking, templates, named formats, and keeping user text apart from control tokens.

`prompt.build_prompt` is the entry. Not for: tokenizing or running models (``engine``, ``llama.py``).
"""
