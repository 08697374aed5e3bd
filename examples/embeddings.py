"""The nearest of several texts: python embeddings.py [MODEL]

The default model was not made for embeddings; give an embedding model, without pooling_type, for real use.
"""

from __future__ import annotations

import sys

import numpy as np

from llama_bind import Llama
from llama_bind.hub import resolve_model

TEXTS = ["The stock market fell today.", "How do I bake bread?", "The cat sleeps on the sofa."]
QUESTION = "How do I bake a cake?"


def main(model: str = "smollm2-135m-instruct") -> None:
    with Llama(resolve_model(model), embedding=True, n_ctx=512, pooling_type="mean") as llm:
        vectors = np.asarray(llm.embed(TEXTS, normalize=True))
        question = np.asarray(llm.embed(QUESTION, normalize=True))
    likeness = vectors @ question
    for index in np.argsort(-likeness):
        print(f"{likeness[index]:.3f}  {TEXTS[index]}")


if __name__ == "__main__":
    main(*sys.argv[1:])
