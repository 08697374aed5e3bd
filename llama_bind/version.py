"""The version of this package; a test holds it equal to pyproject.toml's. Not for: llama.cpp's (`lib._pin`)."""

__version__ = "0.1.0"
