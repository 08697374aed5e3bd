"""llama-cpp-python's server with the backends of ``programs``, by path; its flags are that server's. Not for: people.

LLAMA_CPP_LIB_PATH names the folder of the libraries.
"""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))


def main() -> None:
    """Serve until the process is ended."""
    from benchmarks.peer_program import load_backends

    importlib.import_module("llama_cpp")
    load_backends(Path(os.environ["LLAMA_CPP_LIB_PATH"]))
    program: Any = importlib.import_module("llama_cpp.server.__main__")
    program.main()


if __name__ == "__main__":
    main()
