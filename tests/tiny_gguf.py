"""Tiny real models for tests: GGUF files of some 100 KB which llama.cpp loads and runs.

Weights are random and the text they write is garbage, the same garbage for the same seed. A model is first built in
memory (`TinyModel`: metadata and tensors, both plain dicts that a test may change) and then saved with the ``gguf``
package, so what is tested never wrote its own input. Special tokens have zero output weights: greedy decoding never
ends by itself, it stops at ``max_tokens`` or when a ``logit_bias`` says so.

Not for: quality, speed, or anything outside the tests.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from gguf import GGMLQuantizationType as TensorType
from gguf import GGUFValueType as ValueType
from gguf import TokenType

__all__ = [
    "CHATML_TEMPLATE",
    "TinyModel",
    "TinySpec",
    "tiny_bert",
    "tiny_llama",
    "tiny_lora",
    "tiny_mamba",
    "write_tiny_bert",
    "write_tiny_llama",
    "write_tiny_lora",
    "write_tiny_mamba",
    "write_tiny_shards",
]

CHATML_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
CONTROL_TOKENS = ("<|im_start|>", "<|im_end|>")
FIM_TOKENS = ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>")
FIM_REPO_TOKENS = ("<|fim_pad|>", "<|repo_name|>", "<|file_sep|>")
MERGES = (
    "Ġ t", "h e", "Ġt he", "i n", "a n", "Ġ a", "Ġa n", "e r", "o n", "Ġ H", "l l", "he ll", "hell o", "Ġ w",
    "o r", "Ġw or", "l d", "Ġwor ld", "in g", "r e", "Ġ s", "o u", "y ou", "Ġ m", "Ċ Ċ", "1 2", "ð Ł", "ðŁ ĺ",
)  # fmt: skip
SPM_PIECES = (
    "▁t", "he", "▁the", "in", "an", "▁a", "er", "on", "▁H", "ell", "▁w", "or", "▁wor", "ld", "▁world", "ing", "▁",
)  # fmt: skip


@dataclass(frozen=True)
class TinySpec:
    """What to build. ``n_vocab`` None: as many as the tokenizer needs (about 290); more are padded with unused ones."""

    arch: str = "llama"
    tokenizer: str = "bpe"  # "bpe", "spm", "wpm", "ugm" or "rwkv"
    n_vocab: int | None = None
    n_embd: int = 32
    n_layer: int = 2
    n_head: int = 2
    n_head_kv: int | None = None
    n_ff: int = 64
    n_ctx_train: int = 512
    chat_template: str | None = None
    fim: bool = False
    fim_repo: bool = False  # also tokens for repository, file and padding
    n_expert: int = 0  # of which two are used
    tied: bool = False  # no output matrix of its own
    tensor_type: TensorType = TensorType.F32  # of the matrices; vectors stay F32
    pooling_type: int | None = None  # llama_pooling_type; 4 (rank) adds a classification head to the BERT
    seed: int = 1
    metadata: Mapping[str, Any] = field(default_factory=dict)  # added or replaced; None removes a key


@dataclass
class TinyModel:
    """A model before it is a file. A metadata value is a plain Python value or ``(value, GGUFValueType)``."""

    metadata: dict[str, Any]
    tensors: dict[str, np.ndarray[Any, Any]]  # shapes as numpy has them: reversed to ggml's
    tensor_type: TensorType = TensorType.F32

    def save(self, path: str | Path, *, split_max_tensors: int = 0) -> Path:
        """Write the file (or, with ``split_max_tensors``, shards named after it) and return ``path``."""
        writer = gguf.GGUFWriter(path, arch="", split_max_tensors=split_max_tensors)
        for shard in writer.kv_data:
            shard.clear()  # general.architecture comes from self.metadata, if at all
        for key, value in self.metadata.items():
            _add_value(writer, key, value)
        for name, data in self.tensors.items():
            _add_tensor(writer, name, data, self.tensor_type)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return Path(path)


def write_tiny_llama(path: str | Path, spec: TinySpec | None = None, **changes: Any) -> Path:
    """Write a loadable llama-architecture model; ``changes`` are fields of `TinySpec`."""
    return tiny_llama(_spec(spec, changes)).save(path)


def write_tiny_bert(path: str | Path, spec: TinySpec | None = None, **changes: Any) -> Path:
    """Write a BERT with mean pooling (or ``pooling_type``; 4 makes it a reranker)."""
    return tiny_bert(_spec(spec, changes)).save(path)


def write_tiny_mamba(path: str | Path, spec: TinySpec | None = None, **changes: Any) -> Path:
    """Write a Mamba: recurrent memory, which cannot be cut at any point."""
    return tiny_mamba(_spec(spec, changes)).save(path)


def write_tiny_lora(path: str | Path, spec: TinySpec | None = None, *, rank: int = 4, **changes: Any) -> Path:
    """Write a LoRA adapter that fits the llama of the same `TinySpec`; its effect at scale 1 is plain to see."""
    return tiny_lora(_spec(spec, changes), rank=rank).save(path)


def write_tiny_shards(path: str | Path, spec: TinySpec | None = None, **changes: Any) -> list[Path]:
    """Write a llama as ``<stem>-00001-of-0000N.gguf`` ... next to ``path``; returns the shards in order."""
    path = Path(path)
    tiny_llama(_spec(spec, changes)).save(path, split_max_tensors=8)
    return sorted(path.parent.glob(f"{path.stem}-*-of-*.gguf"))


def tiny_llama(spec: TinySpec | None = None, **changes: Any) -> TinyModel:
    """Metadata and tensors of the llama, in memory."""
    spec = _spec(spec, changes)
    a, vocab = spec.arch, _vocab(spec)
    head_dim, n_head_kv = spec.n_embd // spec.n_head, spec.n_head_kv or spec.n_head
    metadata = {
        "general.architecture": a,
        "general.name": f"tiny {a}",
        f"{a}.context_length": spec.n_ctx_train,
        f"{a}.embedding_length": spec.n_embd,
        f"{a}.block_count": spec.n_layer,
        f"{a}.feed_forward_length": spec.n_ff,
        f"{a}.attention.head_count": spec.n_head,
        f"{a}.attention.head_count_kv": n_head_kv,
        f"{a}.attention.layer_norm_rms_epsilon": 1e-5,
        f"{a}.rope.dimension_count": head_dim,
        f"{a}.rope.freq_base": 10000.0,
        **vocab,
    }
    if spec.n_expert:
        metadata |= {f"{a}.expert_count": spec.n_expert, f"{a}.expert_used_count": 2}
    n_vocab = len(vocab["tokenizer.ggml.tokens"])
    rand = _Random(spec.seed)
    tensors = {"token_embd.weight": rand(n_vocab, spec.n_embd, scale=1.0), "output_norm.weight": rand.ones(spec.n_embd)}
    if not spec.tied:
        output = rand(n_vocab, spec.n_embd, scale=1.0)
        output[_special_ids(vocab)] = 0
        tensors["output.weight"] = output
    for i in range(spec.n_layer):
        tensors |= {
            f"blk.{i}.attn_norm.weight": rand.ones(spec.n_embd),
            f"blk.{i}.attn_q.weight": rand(spec.n_embd, spec.n_embd),
            f"blk.{i}.attn_k.weight": rand(n_head_kv * head_dim, spec.n_embd),
            f"blk.{i}.attn_v.weight": rand(n_head_kv * head_dim, spec.n_embd),
            f"blk.{i}.attn_output.weight": rand(spec.n_embd, spec.n_embd),
            f"blk.{i}.ffn_norm.weight": rand.ones(spec.n_embd),
            **_feed_forward(spec, i, rand),
        }
    return TinyModel(_override(metadata, spec.metadata), tensors, spec.tensor_type)


def tiny_bert(spec: TinySpec | None = None, **changes: Any) -> TinyModel:
    """Metadata and tensors of the BERT, in memory."""
    spec = _spec(spec, {"arch": "bert", "tokenizer": "wpm", **changes})
    a, vocab, pooling = spec.arch, _vocab(spec), 1 if spec.pooling_type is None else spec.pooling_type
    metadata = {
        "general.architecture": a,
        f"{a}.context_length": spec.n_ctx_train,
        f"{a}.embedding_length": spec.n_embd,
        f"{a}.block_count": spec.n_layer,
        f"{a}.feed_forward_length": spec.n_ff,
        f"{a}.attention.head_count": spec.n_head,
        f"{a}.attention.layer_norm_epsilon": 1e-12,
        f"{a}.attention.causal": False,
        f"{a}.pooling_type": pooling,
        **vocab,
    }
    rand, n = _Random(spec.seed), spec.n_embd
    tensors = {
        "token_embd.weight": rand(len(vocab["tokenizer.ggml.tokens"]), n, scale=1.0),
        "token_types.weight": rand(2, n),
        "position_embd.weight": rand(spec.n_ctx_train, n),
        "token_embd_norm.weight": rand.ones(n),
        "token_embd_norm.bias": rand.zeros(n),
    }
    for i in range(spec.n_layer):
        for name, rows, cols in (("attn_q", n, n), ("attn_k", n, n), ("attn_v", n, n), ("attn_output", n, n),
                                 ("ffn_up", spec.n_ff, n), ("ffn_down", n, spec.n_ff)):  # fmt: skip
            tensors[f"blk.{i}.{name}.weight"] = rand(rows, cols)
            tensors[f"blk.{i}.{name}.bias"] = rand.zeros(rows)
        for name in ("attn_output_norm", "layer_output_norm"):
            tensors[f"blk.{i}.{name}.weight"] = rand.ones(n)
            tensors[f"blk.{i}.{name}.bias"] = rand.zeros(n)
    if pooling == 4:
        tensors |= {"cls.weight": rand(n, n), "cls.bias": rand.zeros(n)}
        tensors |= {"cls.output.weight": rand(1, n), "cls.output.bias": rand.zeros(1)}
    return TinyModel(_override(metadata, spec.metadata), tensors, spec.tensor_type)


def tiny_mamba(spec: TinySpec | None = None, **changes: Any) -> TinyModel:
    """Metadata and tensors of the Mamba, in memory."""
    spec = _spec(spec, {"arch": "mamba", **changes})
    a, vocab = spec.arch, _vocab(spec)
    n, d_conv, d_inner, d_state, dt_rank = spec.n_embd, 4, 2 * spec.n_embd, 8, 4
    metadata = {
        "general.architecture": a,
        f"{a}.context_length": spec.n_ctx_train,
        f"{a}.embedding_length": n,
        f"{a}.feed_forward_length": 0,
        f"{a}.attention.head_count": 0,
        f"{a}.block_count": spec.n_layer,
        f"{a}.ssm.conv_kernel": d_conv,
        f"{a}.ssm.inner_size": d_inner,
        f"{a}.ssm.state_size": d_state,
        f"{a}.ssm.time_step_rank": dt_rank,
        f"{a}.attention.layer_norm_rms_epsilon": 1e-5,
        **vocab,
    }
    rand = _Random(spec.seed)
    output = rand(len(vocab["tokenizer.ggml.tokens"]), n, scale=1.0)
    output[_special_ids(vocab)] = 0
    tensors = {
        "token_embd.weight": rand(len(vocab["tokenizer.ggml.tokens"]), n, scale=1.0),
        "output_norm.weight": rand.ones(n),
        "output.weight": output,
    }
    for i in range(spec.n_layer):
        tensors |= {
            f"blk.{i}.attn_norm.weight": rand.ones(n),
            f"blk.{i}.ssm_in.weight": rand(2 * d_inner, n),
            f"blk.{i}.ssm_conv1d.weight": rand(d_inner, d_conv),
            f"blk.{i}.ssm_conv1d.bias": rand.zeros(d_inner),
            f"blk.{i}.ssm_x.weight": rand(dt_rank + 2 * d_state, d_inner),
            f"blk.{i}.ssm_dt.weight": rand(d_inner, dt_rank),
            f"blk.{i}.ssm_dt.bias": rand.zeros(d_inner),
            f"blk.{i}.ssm_a": -np.abs(rand(d_inner, d_state, scale=1.0)),
            f"blk.{i}.ssm_d": rand.ones(d_inner),
            f"blk.{i}.ssm_out.weight": rand(n, d_inner),
        }
    return TinyModel(_override(metadata, spec.metadata), tensors, spec.tensor_type)


def tiny_lora(spec: TinySpec | None = None, *, rank: int = 4, **changes: Any) -> TinyModel:
    """Metadata and tensors of the adapter, in memory."""
    spec = _spec(spec, changes)
    metadata = {
        "general.architecture": spec.arch,
        "general.type": "adapter",
        "adapter.type": "lora",
        "adapter.lora.alpha": float(rank),
    }
    rand, tensors = _Random(spec.seed + 1), {}
    for i in range(spec.n_layer):
        for name, n_out, n_in in (("attn_q", spec.n_embd, spec.n_embd), ("ffn_down", spec.n_embd, spec.n_ff)):
            tensors[f"blk.{i}.{name}.weight.lora_a"] = rand(rank, n_in, scale=1.0)
            tensors[f"blk.{i}.{name}.weight.lora_b"] = rand(n_out, rank, scale=1.0)
    return TinyModel(_override(metadata, spec.metadata), tensors)


def _feed_forward(spec: TinySpec, i: int, rand: _Random) -> dict[str, np.ndarray[Any, Any]]:
    n, n_ff = spec.n_embd, spec.n_ff
    if not spec.n_expert:
        return {
            f"blk.{i}.ffn_gate.weight": rand(n_ff, n),
            f"blk.{i}.ffn_up.weight": rand(n_ff, n),
            f"blk.{i}.ffn_down.weight": rand(n, n_ff),
        }
    return {
        f"blk.{i}.ffn_gate_inp.weight": rand(spec.n_expert, n),
        f"blk.{i}.ffn_gate_exps.weight": rand(spec.n_expert, n_ff, n),
        f"blk.{i}.ffn_up_exps.weight": rand(spec.n_expert, n_ff, n),
        f"blk.{i}.ffn_down_exps.weight": rand(spec.n_expert, n, n_ff),
    }


class _Random:
    """Random matrices of float32, always the same for one seed."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)

    def __call__(self, *shape: int, scale: float | None = None) -> np.ndarray[Any, Any]:
        std = shape[-1] ** -0.5 * 2 if scale is None else scale
        return (self.rng.standard_normal(shape) * std).astype(np.float32)

    def ones(self, n: int) -> np.ndarray[Any, Any]:
        return np.ones(n, np.float32)

    def zeros(self, n: int) -> np.ndarray[Any, Any]:
        return np.zeros(n, np.float32)


def _spec(spec: TinySpec | None, changes: Mapping[str, Any]) -> TinySpec:
    base = spec if spec is not None else TinySpec()
    return TinySpec(**{**base.__dict__, **changes})


def _override(metadata: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in {**metadata, **changes}.items() if v is not None}


def _vocab(spec: TinySpec) -> dict[str, Any]:
    builders = {"bpe": _bpe_vocab, "spm": _spm_vocab, "wpm": _wpm_vocab, "ugm": _ugm_vocab, "rwkv": _rwkv_vocab}
    vocab = builders[spec.tokenizer](spec)
    tokens, types = vocab["tokenizer.ggml.tokens"], vocab["tokenizer.ggml.token_type"]
    for i in range(len(tokens), spec.n_vocab or 0):
        tokens.append(f"[UNUSED{i}]")
        types.append(int(TokenType.UNUSED))
    if "tokenizer.ggml.scores" in vocab:
        scores = vocab["tokenizer.ggml.scores"]
        scores += [-1000.0] * (len(tokens) - len(scores))
    if spec.chat_template is not None:
        vocab["tokenizer.chat_template"] = spec.chat_template
    return vocab


def _bpe_vocab(spec: TinySpec) -> dict[str, Any]:
    """GPT-2's byte alphabet, a few merges, the control tokens in front."""
    fim = (*(FIM_TOKENS if spec.fim else ()), *(FIM_REPO_TOKENS if spec.fim_repo else ()))
    control = ["<|endoftext|>", *CONTROL_TOKENS, *fim]
    tokens = control + _byte_alphabet() + [m.replace(" ", "") for m in MERGES]
    vocab: dict[str, Any] = {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt-2",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": _types(control, tokens),
        "tokenizer.ggml.merges": list(MERGES),
        "tokenizer.ggml.bos_token_id": 0,
        "tokenizer.ggml.eos_token_id": tokens.index("<|im_end|>"),
        "tokenizer.ggml.add_bos_token": False,
    }
    names = ("fim_pre", "fim_suf", "fim_mid", "fim_pad", "fim_rep", "fim_sep")
    for name, token in zip(names, (*FIM_TOKENS, *FIM_REPO_TOKENS), strict=True):
        if token in fim:
            vocab[f"tokenizer.ggml.{name}_token_id"] = tokens.index(token)
    return vocab


def _spm_vocab(spec: TinySpec) -> dict[str, Any]:
    """SentencePiece as Llama 2 has it: unknown, bos, eos, 256 byte tokens, pieces with scores."""
    control = ["<s>", "</s>", *CONTROL_TOKENS, *(FIM_TOKENS if spec.fim else ())]
    bytes_ = [f"<0x{b:02X}>" for b in range(256)]
    letters = [chr(c) for c in range(33, 127)] + list("éüß你好🙂")
    tokens = ["<unk>", *control, *bytes_, *SPM_PIECES, *letters]
    types = _types(control, tokens)
    types[0] = int(TokenType.UNKNOWN)
    types[1 + len(control) : 1 + len(control) + 256] = [int(TokenType.BYTE)] * 256
    return {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.pre": "default",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": types,
        "tokenizer.ggml.scores": [-float(i) for i in range(len(tokens))],
        "tokenizer.ggml.unknown_token_id": 0,
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.add_bos_token": True,
    }


def _wpm_vocab(_: TinySpec) -> dict[str, Any]:
    """WordPiece in the form llama.cpp stores it: a word's first piece carries U+2581."""
    control = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    letters = [chr(c) for c in range(33, 127) if not chr(c).isupper()]
    tokens = [*control, *(f"▁{c}" for c in letters), *letters, "▁hello", "▁world", "▁the", "ing"]
    return {
        "tokenizer.ggml.model": "bert",
        "tokenizer.ggml.pre": "default",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": _types(control, tokens),
        "tokenizer.ggml.token_type_count": 2,
        "tokenizer.ggml.padding_token_id": 0,
        "tokenizer.ggml.unknown_token_id": 1,
        "tokenizer.ggml.cls_token_id": 2,
        "tokenizer.ggml.bos_token_id": 2,
        "tokenizer.ggml.seperator_token_id": 3,  # the key is spelled like this
        "tokenizer.ggml.mask_token_id": 4,
    }


def _ugm_vocab(spec: TinySpec) -> dict[str, Any]:
    """T5's unigram model, with a normalizer that knows no replacements."""
    vocab = _spm_vocab(spec)
    vocab |= {"tokenizer.ggml.model": "t5", "tokenizer.ggml.add_bos_token": False, "tokenizer.ggml.add_eos_token": True}
    table = np.zeros(256, np.uint32).tobytes()
    vocab["tokenizer.ggml.precompiled_charsmap"] = [*len(table).to_bytes(4, "little"), *table, *b"x\0"]
    vocab["tokenizer.ggml.precompiled_charsmap"] = np.array(vocab["tokenizer.ggml.precompiled_charsmap"], np.uint8)
    return vocab


def _rwkv_vocab(_: TinySpec) -> dict[str, Any]:
    """RWKV's byte trie: escaped bytes and a few words."""
    tokens = ["<s>", *(f"\\x{b:02x}" for b in range(256)), "the", "hello", " world", "\\n\\n", "é"]
    return {
        "tokenizer.ggml.model": "rwkv",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": _types(["<s>"], tokens),
        "tokenizer.ggml.bos_token_id": 0,
        "tokenizer.ggml.eos_token_id": 0,
        "tokenizer.ggml.unknown_token_id": 0,
    }


def _types(control: Sequence[str], tokens: Sequence[str]) -> list[int]:
    return [int(TokenType.CONTROL if t in control else TokenType.NORMAL) for t in tokens]


def _special_ids(vocab: Mapping[str, Any]) -> list[int]:
    return [i for i, t in enumerate(vocab["tokenizer.ggml.token_type"]) if t == int(TokenType.CONTROL)]


def _byte_alphabet() -> list[str]:
    """The 256 characters which GPT-2 writes for the 256 bytes, in byte order."""
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
    other = (chr(256 + i) for i in range(256))
    return [chr(b) if b in printable else next(other) for b in range(256)]


def _add_value(writer: gguf.GGUFWriter, key: str, value: Any) -> None:
    if isinstance(value, tuple):
        value, kind = value
        writer.add_key_value(key, value, kind)
    elif isinstance(value, np.ndarray):
        writer.add_key_value(key, value.tobytes(), ValueType.ARRAY, sub_type=ValueType.UINT8)
    elif isinstance(value, list):
        writer.add_array(key, value)
    else:
        kinds = {bool: ValueType.BOOL, int: ValueType.UINT32, float: ValueType.FLOAT32, str: ValueType.STRING}
        writer.add_key_value(key, value, kinds[type(value)])


def _add_tensor(writer: gguf.GGUFWriter, name: str, data: np.ndarray[Any, Any], kind: TensorType) -> None:
    fits = data.ndim > 1 and data.shape[-1] % gguf.GGML_QUANT_SIZES[kind][0] == 0 and "ssm" not in name
    if kind == TensorType.F32 or not fits or data.dtype != np.float32:
        writer.add_tensor(name, data)
    elif kind == TensorType.F16:
        writer.add_tensor(name, data.astype(np.float16))
    else:
        writer.add_tensor(name, gguf.quants.quantize(data, kind), raw_dtype=kind)
