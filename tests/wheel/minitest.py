"""Run by the Python of an environment that has only the wheel: `python -I minitest.py MODEL SITE`. Prints "ok"."""

from __future__ import annotations

import sys
from pathlib import Path


def main(model: str, site: str) -> None:
    import llama_bind

    package = Path(llama_bind.__file__).parent
    assert package.is_relative_to(site), f"{package} is not in {site}"
    from llama_bind import Llama
    from llama_bind.lib._loader import native_dir

    assert native_dir().is_relative_to(site), native_dir()
    with Llama(model, n_ctx=128, n_threads=1) as llm:
        result = llm("hello world", max_tokens=4, temperature=0.0)
        usage = result["usage"]
        assert usage is not None
        assert usage["completion_tokens"] == 4, result
        stream = llm("hello world", max_tokens=4, temperature=0.0, stream=True)
        pieces = [chunk["choices"][0]["text"] for chunk in stream]
        assert "".join(pieces) == result["choices"][0]["text"], (pieces, result)
    if sys.platform == "linux":
        maps = Path("/proc/self/maps").read_text(encoding="utf-8")
        loaded = {line.split(maxsplit=5)[5] for line in maps.splitlines() if "ggml" in line or "gomp" in line}
        assert len(loaded) >= 4, loaded
        assert all(path.startswith(site) for path in loaded), loaded
    print("ok")


if __name__ == "__main__":
    main(*sys.argv[1:])
