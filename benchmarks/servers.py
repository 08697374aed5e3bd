"""Our server and llama-server, both running, under the same loads in turn: ``python -m benchmarks servers``.

A server that is not asked anything computes nothing, so the two do not disturb each other; and what takes long,
starting them and warming them up, is done once. Both have 16 slots whatever the load. Not for: the loads (cases.http).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from benchmarks.cases.http import LOADS, N_CTX, ServerLoad, check_schema
from benchmarks.http_load import Load, run_load
from benchmarks.pairs import Result
from benchmarks.registry import Settings, SideName
from benchmarks.server import LlamaServer, OurServer
from benchmarks.stats import compare

__all__ = ["alternate"]

SLOTS = 16


def alternate(settings: Settings, repeats: int, progress: Callable[[str], None]) -> list[Result]:
    """Each load `repeats` times on either side; which side begins alternates."""
    kept: dict[int, dict[SideName, list[Load]]] = {i: {"ours": [], "theirs": []} for i in range(len(LOADS))}
    ours = OurServer(settings, "--n_seq_max", str(SLOTS), "--n_ctx", str(N_CTX))
    theirs = LlamaServer(settings, "-np", str(SLOTS), "-c", str(SLOTS * N_CTX))
    with ours, theirs:
        ports: dict[SideName, int] = {"ours": ours.port, "theirs": theirs.port}
        for port in ports.values():
            run_load(port, LOADS[0].bodies(0)[:2], 2)
        for round_ in range(repeats):
            for i, load in enumerate(LOADS):
                order: Sequence[SideName] = ("ours", "theirs") if (round_ + i) % 2 else ("theirs", "ours")
                for side in order:
                    kept[i][side].append(_measured(load, ports[side], round_ + 1))
                values = [
                    f"{benchmark.name} {side} {value(kept[i][side][-1]):.4g} {benchmark.unit}"
                    for benchmark, value in load.values
                    for side in order
                ]
                progress(f"{round_ + 1}/{repeats} {', '.join(values)}")
        variant = ours.variant or theirs.variant
    return [
        Result(benchmark, compare(
            [value(one) for one in kept[i]["ours"]], [value(one) for one in kept[i]["theirs"]]
        ), {}, {"cpu backend (theirs)": variant}, 0)
        for i, load in enumerate(LOADS)
        for benchmark, value in load.values
    ]  # fmt: skip


def _measured(load: ServerLoad, port: int, round_: int) -> Load:
    found = run_load(port, load.bodies(round_), load.at_once)
    if load.schema:
        check_schema(found)
    return found
