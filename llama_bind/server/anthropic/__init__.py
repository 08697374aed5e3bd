"""Anthropic's Messages API on the server: what its requests mean here, and answers, streams and errors in its shapes.

Pure translation. Not for: HTTP (``routes.messages``), or rendering and running (the library).
"""
