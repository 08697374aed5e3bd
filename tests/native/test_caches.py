"""Texts that the context has no room for, kept in host memory and in files."""

from __future__ import annotations

import asyncio
import gc
import time
from pathlib import Path
from typing import Any

import pytest

from llama_bind import AsyncLlama, Llama, LlamaDiskCache, LlamaRAMCache
from llama_bind.engine.runner import Runner
from llama_bind.errors import ClosedError, InputError
from tests.core_helpers import model_file
from tests.llamas import tiny

GREEDY: dict[str, Any] = {"temperature": 0, "ignore_eos": True, "max_tokens": 8}
TEXTS = [f"{word} " * 40 for word in ("one", "two", "six", "ten")]


def cached(result: Any) -> int:
    return int(result["usage"]["prompt_tokens_details"]["cached_tokens"])


def text_of(result: Any) -> str:
    return str(result["choices"][0]["text"])


def one_slot(**options: Any) -> Llama:
    """Only one text fits the context at a time."""
    return tiny(**{"n_seq_max": 1, "cache_ram_bytes": 0, **options})


def twice(llm: Llama) -> tuple[list[str], list[int]]:
    """All texts, then all again: what they gave, and how many tokens the second round took from a cache."""
    first = [text_of(llm(text, **GREEDY)) for text in TEXTS]
    again = [llm(text, **GREEDY) for text in TEXTS]
    assert [text_of(r) for r in again] == first
    return first, [cached(r) for r in again]


@pytest.fixture(scope="module")
def plain() -> list[str]:
    with one_slot() as llm:
        texts, found = twice(llm)
        # the fourth text is still there when the first comes again, and so on: they share a beginning of one token
        assert max(found) <= 2
    return texts


def test_host_memory_keeps_what_the_context_loses(plain: list[str]) -> None:
    with one_slot(cache_ram_bytes=1 << 30) as llm:
        texts, found = twice(llm)
        assert texts == plain
        assert found == [len(llm.tokenize(text)) - 1 for text in TEXTS]
        stats, counted = llm.cache_stats, llm.stats
        assert stats.host_entries >= 3
        assert stats.disk_entries == 0
        assert (counted.host_hits, counted.disk_hits, counted.misses) == (4, 0, 4)
        assert counted.restored == 4
        assert counted.saved >= 4


def test_what_no_tier_is_large_enough_for_is_not_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    saved: list[int] = []
    real = Runner.save

    def counting(self: Runner, slot: int) -> bytes | None:
        saved.append(slot)
        return real(self, slot)

    monkeypatch.setattr(Runner, "save", counting)
    for bytes_, copies in ((2000, False), (1 << 30, True)):
        saved.clear()
        with one_slot(cache_ram_bytes=bytes_) as llm:
            twice(llm)
            assert (llm.stats.saved > 0) is copies
        assert bool(saved) is copies


def test_a_small_memory_gives_up_the_oldest() -> None:
    with one_slot(cache_ram_bytes=1 << 30) as llm:
        llm(TEXTS[0], **GREEDY)
        llm(TEXTS[1], **GREEDY)
        size = llm.cache_stats.host_bytes
    with one_slot(cache_ram_bytes=int(1.5 * size)) as llm:
        for text in TEXTS:
            llm(text, **GREEDY)
            assert llm.cache_stats.host_bytes <= 1.5 * size
        assert cached(llm(TEXTS[0], **GREEDY)) <= 2
        assert cached(llm(TEXTS[3], **GREEDY)) > 30


def test_files_serve_the_next_process(plain: list[str], tmp_path: Path) -> None:
    with one_slot(cache_dir=tmp_path) as llm:
        assert twice(llm)[0] == plain
        assert llm.stats.disk_hits == 4
    assert len(list(tmp_path.rglob("*.state"))) >= 4, "what the context held at the end is there too"
    with one_slot(cache_dir=tmp_path) as llm:
        results = [llm(text, **GREEDY) for text in TEXTS]
        assert [text_of(r) for r in results] == plain
        assert [cached(r) for r in results] == [len(llm.tokenize(text)) - 1 for text in TEXTS]
        assert llm.stats.disk_hits == 4


def test_damaged_files_cost_time_and_nothing_else(plain: list[str], tmp_path: Path) -> None:
    with one_slot(cache_dir=tmp_path) as llm:
        twice(llm)
    for i, path in enumerate(sorted(tmp_path.rglob("*.state"))):
        data = bytearray(path.read_bytes())
        data[(-1, 5, 100, len(data) // 2)[i % 4]] ^= 1
        path.write_bytes(data)
    with one_slot(cache_dir=tmp_path) as llm:
        results = [llm(text, **GREEDY) for text in TEXTS]
        assert [text_of(r) for r in results] == plain
        assert max(cached(r) for r in results) <= 2
        assert llm.cache_stats.corrupt >= 4


def test_both_tiers(plain: list[str], tmp_path: Path) -> None:
    with one_slot(cache_ram_bytes=1 << 30) as llm:
        llm(TEXTS[0], **GREEDY)
        llm(TEXTS[1], **GREEDY)
        size = llm.cache_stats.host_bytes
    with one_slot(cache_ram_bytes=2 * size, cache_dir=tmp_path) as llm:
        assert twice(llm)[0] == plain
        stats = llm.cache_stats
        assert stats.spills > 0
        assert 0 < stats.host_bytes <= 2 * size
        assert llm.stats.disk_hits + llm.stats.host_hits == 4


def states(folder: Path) -> set[str]:
    return {path.parent.name for path in folder.rglob("*.state")}


def test_states_are_only_exchanged_where_they_fit(tmp_path: Path) -> None:
    lora = model_file("lora")
    variants: list[dict[str, Any]] = [
        {},
        {"file": {"seed": 7}},  # other weights under the same metadata
        {"type_k": "f32"},
        {"rope_freq_base": 5000.0},
        {"lora_path": str(lora)},
        {"lora_path": str(lora), "lora_scale": 0.5},
    ]
    seen: set[str] = set()
    for variant in variants:
        with one_slot(cache_dir=tmp_path, **variant) as llm:
            assert cached(llm(TEXTS[0], **GREEDY)) == 0, variant
        assert len(states(tmp_path) - seen) == 1, variant
        seen |= states(tmp_path)
    with one_slot(cache_dir=tmp_path, n_batch=64, n_threads=2) as llm:  # what changes nothing in a state
        assert cached(llm(TEXTS[0], **GREEDY)) > 0


def test_a_salt_keeps_tenants_apart(tmp_path: Path) -> None:
    secret = "the tenant's own secret"
    with one_slot(cache_dir=tmp_path, cache_ram_bytes=1 << 30) as llm:
        llm(TEXTS[0], cache_salt=secret, **GREEDY)
        llm(TEXTS[1], **GREEDY)
        assert cached(llm(TEXTS[0], **GREEDY)) <= 2
        assert cached(llm(TEXTS[0], cache_salt="another", **GREEDY)) == 0
        assert cached(llm(TEXTS[0], cache_salt=secret, **GREEDY)) > 30
    assert list(tmp_path.rglob("*.state"))
    assert not any(secret.encode() in path.read_bytes() for path in tmp_path.rglob("*.state"))
    with one_slot(cache_dir=tmp_path) as llm:
        assert cached(llm(TEXTS[0], cache_salt=secret, **GREEDY)) > 30


def test_set_cache_takes_the_established_names(plain: list[str], tmp_path: Path) -> None:
    with one_slot() as llm:
        assert llm.cache is None
        memory = LlamaRAMCache(capacity_bytes=1 << 30)
        llm.set_cache(memory)
        assert llm.cache is memory
        assert memory.cache_size == 0
        assert twice(llm)[0] == plain
        assert memory.cache_size == llm.cache_stats.host_bytes > 0
        files = LlamaDiskCache(str(tmp_path), capacity_bytes=1 << 30)
        llm.set_cache(files)
        assert memory.cache_size == 0
        assert twice(llm)[0] == plain
        assert files.cache_size == llm.cache_stats.disk_bytes > 0
        llm.set_cache(None)
        assert llm.cache is None
        assert llm.cache_stats.disk_entries == files.cache_size == 0
        assert max(twice(llm)[1]) <= 2
        for wrong in (5, "cache"):
            with pytest.raises(InputError, match="LlamaRAMCache"):
                llm.set_cache(wrong)
    with pytest.raises(ClosedError):
        llm.set_cache(memory)


def test_one_cache_for_two_models_shows_both_sizes() -> None:
    memory = LlamaRAMCache()
    with one_slot() as first, one_slot(file={"seed": 7}) as second:
        for llm in (first, second):
            llm.set_cache(memory)
            llm(TEXTS[0], **GREEDY)
            llm(TEXTS[1], **GREEDY)
        assert memory.cache_size == first.cache_stats.host_bytes + second.cache_stats.host_bytes > 0
    assert memory.cache_size == 0
    for wrong in (-1, 1.5, "1"):
        with pytest.raises(InputError, match="capacity_bytes"):
            LlamaRAMCache(wrong)  # type: ignore[arg-type]
    assert repr(LlamaDiskCache()) == f"LlamaDiskCache(capacity_bytes={2 << 30})"


def test_asyncio_has_it_too(plain: list[str]) -> None:
    async def work() -> None:
        async with AsyncLlama.of(one_slot()) as llm:
            await llm.set_cache(LlamaRAMCache())
            for _ in range(2):
                assert [text_of(await llm(text, **GREEDY)) for text in TEXTS] == plain
            assert llm.stats.host_hits == 4

    asyncio.run(asyncio.wait_for(work(), 60))


def test_an_engine_in_a_process_of_its_own_has_it_too(plain: list[str], tmp_path: Path) -> None:
    with one_slot(engine_process=True, cache_dir=str(tmp_path)) as llm:
        assert twice(llm)[0] == plain
        assert llm.stats.disk_hits == 4
        memory = LlamaRAMCache()
        llm.set_cache(memory)
        assert twice(llm)[0] == plain
        assert memory.cache_size == llm.cache_stats.host_bytes > 0
    assert len(list(tmp_path.rglob("*.state"))) >= 4


@pytest.mark.parametrize("kind", ["mamba", "bert"])
def test_other_kinds_of_memory(kind: str, tmp_path: Path) -> None:
    if kind == "bert":  # nothing is kept between its texts
        with tiny("bert", embedding=True, cache_dir=tmp_path) as llm:
            llm.embed(TEXTS)
        assert not list(tmp_path.rglob("*.state"))
        return
    with tiny(kind, n_seq_max=1) as llm:
        want = [text_of(llm(text, **GREEDY)) for text in TEXTS]
    for _ in range(2):
        with tiny(kind, n_seq_max=1, cache_dir=tmp_path) as llm:
            assert [text_of(llm(text, **GREEDY)) for text in TEXTS * 2] == want * 2
            # a recurrent state cannot be cut: its checkpoint before the prompt's last token serves the same prompt
            assert cached(llm(TEXTS[0], **GREEDY)) > 30


def test_a_model_that_is_dropped_brings_its_texts_to_the_files(tmp_path: Path) -> None:
    llm = one_slot(cache_dir=tmp_path)
    llm(TEXTS[0], **GREEDY)
    del llm
    deadline = time.monotonic() + 20
    while not list(tmp_path.rglob("*.state")):
        assert time.monotonic() < deadline
        gc.collect()
        time.sleep(0.01)


def test_a_conversation_is_kept_once_but_its_short_beginning_stays(tmp_path: Path) -> None:
    with one_slot(n_ctx=1024, file={"n_ctx_train": 1024}, cache_dir=tmp_path) as llm:
        for words in (25, 60, 80, 100, 110):
            llm("one " * words, max_tokens=1)
            llm("two", max_tokens=1)  # takes the slot
        lengths = sorted(len(entry.tokens) for entry in saved(llm))
        assert len(lengths) == 2
        assert lengths[0] < 100 < 300 < lengths[1]
        assert cached(llm("one " * 120, max_tokens=1)) > 300


def saved(llm: Llama) -> list[Any]:
    store: Any = llm.engine._worker.keeper.store  # type: ignore[union-attr]
    return list(store.entries())


def test_a_reset_forgets_what_is_in_memory_and_leaves_files() -> None:
    with one_slot(cache_ram_bytes=1 << 30) as llm:
        twice(llm)
        assert llm.cache_stats.host_entries > 0
        llm.reset()
        assert llm.cache_stats.host_entries == 0
        assert cached(llm(TEXTS[0], **GREEDY)) == 0
