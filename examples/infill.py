"""A gap in code, filled: python infill.py MODEL, a model that was trained for it, such as a coder's base model."""

from __future__ import annotations

import sys

from llama_bind import Llama
from llama_bind.errors import UnsupportedError
from llama_bind.hub import resolve_model

PREFIX = "import math\n\n\ndef area(radius):\n    return "
SUFFIX = "\n\n\nprint(area(2))\n"
OTHERS = [{"filename": "volume.py", "text": "import math\n\n\ndef volume(r):\n    return 4 / 3 * math.pi * r**3\n"}]


def main(model: str = "smollm2-135m-instruct") -> None:
    with Llama(resolve_model(model)) as llm:
        try:
            result = llm.create_infill(PREFIX, SUFFIX, extra=OTHERS, filename="area.py", max_tokens=32, temperature=0)
        except UnsupportedError as error:
            print(error)  # the small default model is none
        else:
            print(PREFIX, result["choices"][0]["text"], SUFFIX, sep="")


if __name__ == "__main__":
    main(*sys.argv[1:])
