"""llama_bind: the Python home of llama.cpp."""
