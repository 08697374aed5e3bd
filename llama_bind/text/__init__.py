"""Text as it leaves a model: bytes to characters, stop strings, and which tokens a piece of text is made of.

Not for: tokenizing (``core.Vocab``) or chat output (``chat``).
"""
