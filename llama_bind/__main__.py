"""``python -m llama_bind`` is the command ``llama-bind``. Not for: importing."""

from __future__ import annotations

import sys

from llama_bind.cli import main

if __name__ == "__main__":
    sys.exit(main())
