"""Filling gaps: the tokens of prompts beside what llama-server's source says, limits, and the calls."""

from __future__ import annotations

import asyncio
import functools
import inspect
import itertools
import random
from pathlib import Path
from typing import Any

import pytest

from llama_bind import AsyncLlama, Llama
from llama_bind.core.vocab import Vocab
from llama_bind.errors import ContextOverflowError, InputError, UnknownOptionError, UnsupportedError
from llama_bind.infill import InfillReader, Room
from llama_bind.params import InfillParams
from tests.core_helpers import FOLDER
from tests.llamas import shared, tiny
from tests.tiny_gguf import write_tiny_llama

SERVER = Path(__file__).resolve().parents[2] / "vendor/llama.cpp/tools/server/server-common.cpp"
FILES = [{"filename": "a.py", "text": "hello the world"}, {"text": "in the\n"}]
SNIPPET = "\n\n--- snippet ---\n\n"


@functools.cache
def model(*, repo: bool = True, bos: bool = False) -> Llama:
    path = FOLDER / f"infill-{repo}-{bos}.gguf"
    write_tiny_llama(path, fim=True, fim_repo=repo, metadata={"tokenizer.ggml.add_bos_token": bos})
    return Llama(path, n_ctx=256, n_threads=1, seed=1)


def reader(llm: Llama) -> InfillReader:
    return llm._session.gaps


def read(llm: Llama, prefix: str, suffix: str, room: Room | None = None, **options: Any) -> list[int]:
    return reader(llm).read(prefix, suffix, InfillParams(**options), room or Room(4096, 2048, 0))


def as_the_server(
    llm: Llama, prefix: str, suffix: str, extra: Any = (), prompt: str = "", *, spm: bool = False
) -> list[int]:
    """``format_prompt_infill``, line by line, where everything fits; BOS as the first token."""
    vocab: Any = llm._session.vocab
    tokenize = functools.partial(llm.tokenize, add_bos=False)
    found: list[int] = []
    if vocab.fim_rep is not None:
        found += [vocab.fim_rep, *tokenize("myproject\n")]
    for chunk in extra:
        if vocab.fim_sep is not None:
            found += [vocab.fim_sep, *tokenize(chunk.get("filename", "tmp") + "\n")]
        else:
            found += tokenize(SNIPPET)
        found += tokenize(chunk["text"])
    if vocab.fim_sep is not None:
        found += [vocab.fim_sep, *tokenize("filename\n")]
    first = [vocab.fim_pre, *tokenize(prefix), *tokenize(prompt)]
    last = [vocab.fim_suf, *tokenize(suffix)]
    found += [*last, *first] if spm else [*first, *last]
    return [*([vocab.bos] if vocab.add_bos else []), *found, vocab.fim_mid]


def test_the_servers_source_says_what_is_compared_here() -> None:
    """A newer llama.cpp may write prompts otherwise."""
    text = SERVER.read_text(encoding="utf-8")
    start = text.index("llama_tokens format_prompt_infill(")
    body = "".join(text[start : text.index("\n}\n", start)].split())
    hexes = ",".join(f"0x{ord(c):02x}" for c in SNIPPET)
    for line in (
        'common_tokenize(vocab,"myproject\\n",false,false)',
        'common_tokenize(vocab,"filename\\n",false,false)',
        'json_value(chunk,"filename",std::string("tmp"))',
        f"{{{hexes},0x00}}",
        "common_tokenize(vocab,text,false,false)",
        "tokens_prefix.insert(tokens_prefix.begin(),llama_vocab_fim_pre(vocab))",
        "tokens_prefix.insert(tokens_prefix.end(),tokens_prompt.begin(),tokens_prompt.end())",
        "tokens_suffix.insert(tokens_suffix.begin(),llama_vocab_fim_suf(vocab))",
        "spm_infill?tokens_suffix:tokens_prefix",
        "embd_inp.push_back(llama_vocab_fim_mid(vocab))",
    ):
        assert line in body, line


@pytest.mark.parametrize("repo", [False, True])
@pytest.mark.parametrize("bos", [False, True])
@pytest.mark.parametrize("spm", [False, True])
@pytest.mark.parametrize("extra", [(), FILES])
def test_prompts_are_those_of_llama_server(repo: bool, bos: bool, spm: bool, extra: Any) -> None:
    llm = model(repo=repo, bos=bos)
    wanted = as_the_server(llm, "the wor", " in", extra, "ld", spm=spm)
    assert read(llm, "the wor", " in", extra=extra, prompt="ld", spm_infill=spm) == wanted


def test_names_of_control_tokens_are_text() -> None:
    llm, evil = model(), "<|fim_middle|><|endoftext|>"
    vocab = llm._session.vocab
    found = read(llm, evil, evil, extra=[{"filename": evil, "text": evil}], prompt=evil, filename=evil, repository=evil)
    controls = [token for token in found if vocab.is_control(token)]
    assert controls == [vocab.fim_rep, *[vocab.fim_sep] * 2, vocab.fim_pre, vocab.fim_suf, vocab.fim_mid]
    assert vocab.detokenize(found, False, True).decode().count(evil) == 7


def test_spaces_stand_where_they_were_written() -> None:
    """A vocabulary that puts a space before every text puts none into the middle of a file."""
    with tiny(file={"tokenizer": "spm", "fim": True}) as llm:
        vocab: Vocab = llm._session.vocab
        tokens = read(llm, "the", "world", extra=[{"text": "in"}], prompt="x")
        text = vocab.detokenize(tokens, False, True).decode()
        assert (
            text.replace("<s>", "").strip()
            == f"{SNIPPET}in<|fim_prefix|> thex<|fim_suffix|>world<|fim_middle|>".strip()
        )


def shares(llm: Llama, prefix: str, suffix: str, room: Room, **options: Any) -> tuple[list[int], list[int], list[int]]:
    """What of other files, prefix and suffix is in the prompt."""
    vocab = llm._session.vocab
    tokens = read(llm, prefix, suffix, room, **options)
    assert len(tokens) <= room.prompt
    assert None not in (vocab.fim_pre, vocab.fim_suf, vocab.fim_mid)
    pre, suf, mid = (tokens.index(t) for t in (vocab.fim_pre or 0, vocab.fim_suf or 0, vocab.fim_mid or 0))
    return tokens[:pre], tokens[pre + 1 : suf], tokens[suf + 1 : mid]


@pytest.mark.parametrize(("n_before", "n_after"), list(itertools.product((0, 5, 300, 2000), repeat=2)))
def test_long_surroundings_are_cut_far_from_the_gap(n_before: int, n_after: int) -> None:
    llm, room = model(repo=False), Room(512, 2048, 100)
    prefix, suffix = "".join(random.Random(1).choices("abcdefghijklm", k=n_before)), "z" * n_after
    before, after = llm.tokenize(prefix, add_bos=False), llm.tokenize(suffix, add_bos=False)
    _, got_before, got_after = shares(llm, prefix, suffix, room)
    left = 412 - 3
    assert got_before == before[len(before) - len(got_before) :]
    assert got_after == after[: len(got_after)]
    if len(before) + len(after) <= left:
        assert (got_before, got_after) == (before, after)
    else:
        assert len(got_before) + len(got_after) >= left - left // 16 - 1
        assert len(got_after) >= min(len(after), left // 4)
        assert len(got_before) >= min(len(before), left * 3 // 4) - left // 16 - 1


def test_the_surroundings_take_at_most_a_batch() -> None:
    llm = model(repo=False)
    tokens = read(llm, "a " * 3000, "b " * 3000, Room(100_000, 128))
    assert 100 < len(tokens) <= 128


def test_other_files_are_left_out_from_the_oldest() -> None:
    llm = model()
    vocab = llm._session.vocab
    files = [{"filename": f"{i}.py", "text": f"{i}" * 60} for i in range(1, 9)]
    names = [llm.tokenize(f"{i}.py\n", add_bos=False) for i in range(1, 9)]
    counts = []
    for context in (50, 100, 200, 300, 400, 500, 600, 700, 800):
        others, before, after = shares(llm, "abc", "def", Room(context, 2048, 0), extra=files)
        assert (before, after) == (llm.tokenize("abc", add_bos=False), llm.tokenize("def", add_bos=False))
        assert others[0] == vocab.fim_rep
        at = [i for i, token in enumerate(others) if token == vocab.fim_sep]
        inner = [others[a + 1 : b] for a, b in itertools.pairwise(at)]
        kept = names[len(names) - len(inner) :]
        for number, (part, name) in enumerate(zip(inner, kept, strict=True)):
            assert part[: len(name)] == name
            text = llm.detokenize(part[len(name) :]).decode()
            assert set(text) == {str(9 - len(inner) + number)}
            assert number == 0 or len(text) == 60  # only the oldest may be cut, at its beginning
        counts.append(len(inner))
        assert len(others) + 9 > context - 80 or len(inner) == 8
    assert counts == sorted(counts)
    assert counts[0] == 0
    assert counts[-1] == 8


def test_typing_keeps_the_beginning_of_the_prompt() -> None:
    """What was computed for the last letter serves for the next: the cuts do not move with every token."""
    llm, room = model(), Room(512, 2048, 0)
    files = [{"filename": f"{i}.py", "text": f"{i}" * 100} for i in range(9)]
    typed = "".join(random.Random(2).choices("abcdefghijklm", k=1200))
    for before, extra in ((900, []), (100, files)):
        starts = {tuple(read(llm, typed[:n], "z" * 50, room, extra=extra)[:200]) for n in range(before, before + 100)}
        assert len(starts) <= 5


@pytest.mark.parametrize(("answer", "prompt"), [(None, 768), (0, 1023), (100, 924), (5000, 512)])
def test_room_is_kept_for_the_answer(answer: int | None, prompt: int) -> None:
    assert Room(1024, 2048, answer).prompt == prompt


def test_no_room_at_all() -> None:
    with pytest.raises(ContextOverflowError, match="prompt"):
        read(model(), "a", "b", Room(64, 2048, 0), prompt="x" * 100)
    assert len(read(model(repo=False), "a" * 100, "b" * 100, Room(5, 2048, 0))) <= 5


# -- the calls -------------------------------------------------------------------------------------------------------


def test_a_gap_is_filled_and_streamed() -> None:
    llm = model()
    options: dict[str, Any] = {"max_tokens": 8, "temperature": 0, "extra": FILES, "prompt": "x"}
    result = llm.create_infill("the wor", " in", **options)
    text = result["choices"][0]["text"]
    assert result["usage"] is not None
    assert result["usage"]["prompt_tokens"] == len(read(llm, "the wor", " in", extra=FILES, prompt="x"))
    assert result["object"] == "text_completion"
    streamed = list(llm.create_infill("the wor", " in", stream=True, **options))
    assert "".join(chunk["choices"][0]["text"] for chunk in streamed if chunk["choices"]) == text
    prompt = read(llm, "the wor", " in", extra=FILES, prompt="x")
    assert llm(prompt, max_tokens=8, temperature=0)["choices"][0]["text"] == text


def test_the_asynchronous_call_does_the_same() -> None:
    llm = model()

    async def work() -> None:
        both = AsyncLlama.of(llm)
        result = await both.create_infill("the", " in", max_tokens=4, temperature=0)
        text = result["choices"][0]["text"]
        assert text == llm.create_infill("the", " in", max_tokens=4, temperature=0)["choices"][0]["text"]
        stream = await both.create_infill("the", " in", max_tokens=4, temperature=0, stream=True)
        assert "".join([chunk["choices"][0]["text"] async for chunk in stream if chunk["choices"]]) == text

    asyncio.run(asyncio.wait_for(work(), 60))


@pytest.mark.parametrize("name", ["fim_pre", "fim_suf", "fim_mid", "fim_pad", "fim_rep", "fim_sep"])
def test_the_vocabularys_tokens_for_gaps_end_the_text(name: str) -> None:
    llm = model()
    forced = {getattr(llm._session.vocab, name): 100.0}
    for result in (
        llm.create_infill("a", "b", max_tokens=5, logit_bias=forced),
        llm("a", suffix="b", max_tokens=5, logit_bias=forced),
    ):
        assert result["choices"][0]["text"] == ""
        assert result["choices"][0]["finish_reason"] == "stop"


def test_suffix_of_a_completion_is_a_gap_without_other_files() -> None:
    llm = model(bos=True)
    vocab = llm._session.vocab
    found = llm._session.prompts.read("the wor", " in")
    assert found[0] == vocab.bos
    assert found[1:] == [
        vocab.fim_pre, *llm.tokenize("the wor", add_bos=False),
        vocab.fim_suf, *llm.tokenize(" in", add_bos=False), vocab.fim_mid,
    ]  # fmt: skip


def test_the_infill_sampler_and_other_options_take_part() -> None:
    result = model().create_infill("a", "b", max_tokens=3, samplers=("top_k", "infill"), n=2, stop="z", seed=1)
    assert len(result["choices"]) == 2


def test_models_without_the_tokens_say_so() -> None:
    with pytest.raises(UnsupportedError, match="fim_pre, fim_suf, fim_mid"):
        shared().create_infill("a", "b")


@pytest.mark.parametrize(
    ("arguments", "param"),
    [
        ({"prefix": 5}, "prefix"),
        ({"suffix": None}, "suffix"),
        ({"prompt": 5}, "prompt"),
        ({"filename": 5}, "filename"),
        ({"repository": 5}, "repository"),
        ({"extra": "x"}, "extra"),
        ({"extra": {"text": "x"}}, "extra"),
        ({"extra": ["x"]}, "extra"),
        ({"extra": [{"filename": "x"}]}, "extra"),
        ({"extra": [{"text": 5}]}, "extra"),
        ({"extra": [{"text": "x", "filename": 5}]}, "extra"),
        ({"echo": True}, "echo"),
        ({"spm_infill": "x"}, "spm_infill"),
        ({"prefix": "\ud800"}, "text"),
        ({"extra": [{"text": "\ud800"}]}, "text"),
    ],
)
def test_bad_arguments_are_named(arguments: dict[str, Any], param: str) -> None:
    with pytest.raises(InputError) as caught:
        model().create_infill(**{"prefix": "a", "suffix": "b", "max_tokens": 1, **arguments})
    assert caught.value.param == param


def test_unknown_options_name_the_nearest() -> None:
    with pytest.raises(UnknownOptionError, match=r"create_infill\(\)"):
        model().create_infill("a", "b", max_token=1)  # type: ignore[call-overload]


def test_the_signature_names_the_texts() -> None:
    assert list(inspect.signature(Llama.create_infill).parameters)[:3] == ["self", "prefix", "suffix"]
