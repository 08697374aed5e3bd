"""``python -m llama_bind.server`` is ``llama-bind serve``. Not for: importing."""

from __future__ import annotations

import sys

from llama_bind.cli import main

if __name__ == "__main__":
    sys.exit(main(["serve", *sys.argv[1:]]))
