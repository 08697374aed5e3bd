"""Frameworks that stand on llama-cpp-python, over `import llama_cpp`."""
