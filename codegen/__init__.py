"""Writes ``llama_bind/lib/*_h.py`` from the pinned headers; development only, not installed."""
