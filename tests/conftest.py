"""What all tests share. That this file is here puts ``tests/`` on the import path: ``vectors``, ``tiny_gguf``, ..."""
