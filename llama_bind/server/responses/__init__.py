"""OpenAI's Responses API in terms of chat completions: what comes in, what goes out, what is kept.

Not for: HTTP (``routes.responses``), or generating (`AsyncLlama`).
"""
