"""llama_bind within frameworks of others: a module for each, with an extra that installs what it imports.

Not for: programs that speak OpenAI's API (``llama_bind.server``), or calling models directly (`llama_bind.Llama`).
"""
