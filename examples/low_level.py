"""The vocabulary and the devices through the C API: python low_level.py [MODEL]

``llama_bind.lib`` is llama.cpp's C interface under its own names; docs/low-level.md generates text with it.
"""

from __future__ import annotations

import sys

from llama_bind.hub import resolve_model
from llama_bind.lib import check_guard, ggml_backend_h, ggml_h, guard_h, llama_h, load_backends


def main(name: str = "smollm2-135m-instruct") -> None:
    quiet = ggml_h.ggml_log_callback(lambda _level, _text, _data: None)
    llama_h.llama_log_set(quiet, None)
    load_backends()
    for index in range(ggml_backend_h.ggml_backend_dev_count()):
        device = ggml_backend_h.ggml_backend_dev_get(index)
        print((ggml_backend_h.ggml_backend_dev_name(device) or b"").decode())

    params = llama_h.llama_model_default_params()
    params.vocab_only = True
    model = guard_h.lb_llama_model_load_from_file(str(resolve_model(name)).encode(), params)
    check_guard()
    if not model:
        raise SystemExit("llama.cpp refused the model")
    vocab = llama_h.llama_model_get_vocab(model)
    text = b"Hello world"
    count = -llama_h.llama_tokenize(vocab, text, len(text), None, 0, True, True)
    tokens = (llama_h.llama_token * count)()
    llama_h.llama_tokenize(vocab, text, len(text), tokens, count, True, True)
    print(llama_h.llama_vocab_n_tokens(vocab), "tokens in the vocabulary;", text.decode(), "is", list(tokens))
    llama_h.llama_model_free(model)
    llama_h.llama_log_set(None, None)


if __name__ == "__main__":
    main(*sys.argv[1:])
