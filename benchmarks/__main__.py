"""``python -m benchmarks build | run [NAME ...] | list``."""

from __future__ import annotations

import argparse
import datetime
import os
import shlex
import sys
from pathlib import Path

from benchmarks.machine import ROOT, OtherWork, commit, describe
from benchmarks.pairs import Limits, run
from benchmarks.registry import Benchmark, Settings

DEFAULT_MODEL = "smollm2-135m-instruct"
RESULTS = ROOT / "benchmarks" / "RESULTS.md"


def main(arguments: list[str]) -> int:
    """Gives the exit status: 1 when a goal was not reached."""
    options = _parser().parse_args(arguments)
    if options.command == "build":
        from benchmarks.programs import build

        build(options.jobs)
        return 0
    from benchmarks.cases import ALL

    if options.command == "list":
        for benchmark in ALL:
            goal = benchmark.goal.text(benchmark.unit) if benchmark.goal else "for information"
            print(f"{benchmark.name:16} {benchmark.title} ({goal})")
        return 0
    return _run(options, _chosen(options.names, ALL))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Ours beside llama.cpp's own programs.")
    commands = parser.add_subparsers(dest="command", required=True)
    build = commands.add_parser("build", help="build llama.cpp's programs into build/bench (once)")
    build.add_argument("-j", "--jobs", type=int, help="compile processes at once; all CPUs if not given")
    commands.add_parser("list", help="name the benchmarks")
    run = commands.add_parser("run", help="measure and append to benchmarks/RESULTS.md")
    run.add_argument("names", nargs="*", help="benchmarks; all if none is given")
    run.add_argument("-m", "--model", default=DEFAULT_MODEL, help="GGUF file or known name (default: %(default)s)")
    run.add_argument("-t", "--threads", type=int, default=2, help="threads of both sides (default: %(default)s)")
    run.add_argument("-r", "--repeats", type=int, default=5, help="pairs of processes (default: %(default)s)")
    run.add_argument("-i", "--inner", type=int, default=3, help="measurements per process (default: %(default)s)")
    run.add_argument(
        "--retries",
        type=int,
        default=Limits.retries,
        help="how often a measurement is made again when other processes were busy (default: %(default)s)",
    )
    run.add_argument("--no-save", action="store_true", help="print only")
    return parser


def _chosen(names: list[str], known: tuple[Benchmark, ...]) -> list[Benchmark]:
    by_name = {benchmark.name: benchmark for benchmark in known}
    unknown = [name for name in names if name not in by_name]
    if unknown:
        sys.exit(f"error: no benchmark {', '.join(unknown)}; there are {', '.join(by_name)}")
    return [by_name[name] for name in names] or list(known)


def _run(options: argparse.Namespace, chosen: list[Benchmark]) -> int:
    from benchmarks.report import Occasion, append, table
    from llama_bind.hub import resolve_model

    if options.threads < 1 or min(options.repeats, options.inner) < 1:
        sys.exit("error: --threads, --repeats and --inner are at least 1")
    settings = Settings(Path(resolve_model(options.model)), threads=options.threads, inner=options.inner)
    occasion = Occasion(
        datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M"),
        commit(),
        describe(),
        shlex.join(["python", "-m", "benchmarks", *sys.argv[1:]]),
    )
    limits = Limits(options.repeats, retries=max(0, options.retries))
    whole = OtherWork()
    results = []
    for benchmark in chosen:
        result = run(benchmark, settings, limits, lambda text: print(text, file=sys.stderr))
        results.append(result)
        if not options.no_save:
            append(RESULTS, [result], occasion)
    print(f"{occasion.machine}, {settings.threads} threads, {settings.model.name}, commit {occasion.commit}")
    print(f"other work on the machine meanwhile: {whole.taken():.2f} CPUs of {os.cpu_count()}\n")
    print(table(results))
    return 1 if any(result.met is False for result in results) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
