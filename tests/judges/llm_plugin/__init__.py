"""The plugin of `llm`, apart from the others: it wants another version of the openai client than LlamaIndex."""
