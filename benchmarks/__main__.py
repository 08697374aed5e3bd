"""``python -m benchmarks build | run [NAME ...] | servers | sweep | list``."""

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
from benchmarks.report import Occasion, append, table

DEFAULT_MODEL = "smollm2-135m-instruct"
RESULTS = ROOT / "benchmarks" / "RESULTS.md"
SWEEP = (0.03, 0.04, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0)


def main(arguments: list[str]) -> int:
    """Gives the exit status: 1 when a goal was not reached."""
    options = _parser().parse_args(arguments)
    if options.command == "build":
        from benchmarks.peer import install
        from benchmarks.programs import build

        build(options.jobs)
        install()
        return 0
    from benchmarks.cases import ALL

    if options.command == "list":
        for benchmark in ALL:
            goal = benchmark.goal.text(benchmark.unit) if benchmark.goal else "for information"
            print(f"{benchmark.name:22} {benchmark.title} ({goal})")
        return 0
    if options.command == "sweep":
        from benchmarks.sweep import sweep

        sweep(_settings(options), options.targets, options.repeats)
        return 0
    if options.command == "servers":
        return _servers(options)
    return _run(options, _chosen(options.names, ALL))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Ours beside llama.cpp's own programs.")
    commands = parser.add_subparsers(dest="command", required=True)
    build = commands.add_parser("build", help="build llama.cpp's programs into build/bench (once)")
    build.add_argument("-j", "--jobs", type=int, help="compile processes at once; all CPUs if not given")
    commands.add_parser("list", help="name the benchmarks")
    run = commands.add_parser("run", help="measure and append to benchmarks/RESULTS.md")
    run.add_argument("names", nargs="*", help="benchmarks; all if none is given")
    _add_common(run)
    run.add_argument("-r", "--repeats", type=int, default=5, help="pairs of processes (default: %(default)s)")
    run.add_argument("-i", "--inner", type=int, default=3, help="measurements per process (default: %(default)s)")
    run.add_argument(
        "--step-target",
        type=float,
        help="seconds that a step may take, for the benchmarks that set it; 0: the package's own default",
    )
    run.add_argument(
        "--retries",
        type=int,
        default=Limits.retries,
        help="how often a measurement is made again when other processes were busy (default: %(default)s)",
    )
    run.add_argument("--no-save", action="store_true", help="print only")
    servers = commands.add_parser("servers", help="our server and llama-server in turn under all loads, both running")
    _add_common(servers)
    servers.add_argument("-r", "--repeats", type=int, default=3, help="times each load (default: %(default)s)")
    servers.set_defaults(inner=1, step_target=None)
    sweep = commands.add_parser("sweep", help="streams and a long prompt under several step targets; prints only")
    _add_common(sweep)
    sweep.add_argument("targets", nargs="*", type=float, default=SWEEP, help="seconds (default: %(default)s)")
    sweep.add_argument("-r", "--repeats", type=int, default=1, help="processes per target (default: %(default)s)")
    sweep.set_defaults(inner=1, step_target=None)
    return parser


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-m", "--model", default=DEFAULT_MODEL, help="GGUF file or known name (default: %(default)s)")
    parser.add_argument("-t", "--threads", type=int, default=2, help="threads of both sides (default: %(default)s)")


def _chosen(names: list[str], known: tuple[Benchmark, ...]) -> list[Benchmark]:
    by_name = {benchmark.name: benchmark for benchmark in known}
    unknown = [name for name in names if name not in by_name]
    if unknown:
        sys.exit(f"error: no benchmark {', '.join(unknown)}; there are {', '.join(by_name)}")
    return [by_name[name] for name in names] or list(known)


def _settings(options: argparse.Namespace) -> Settings:
    from llama_bind.hub import resolve_model

    if options.threads < 1 or min(options.repeats, options.inner) < 1:
        sys.exit("error: --threads, --repeats and --inner are at least 1")
    model = Path(resolve_model(options.model))
    return Settings(model, threads=options.threads, inner=options.inner, step_target=options.step_target)


def _occasion() -> Occasion:
    return Occasion(
        datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M"),
        commit(),
        describe(),
        shlex.join(["python", "-m", "benchmarks", *sys.argv[1:]]),
    )


def _servers(options: argparse.Namespace) -> int:
    from benchmarks.servers import alternate

    settings, occasion, whole = _settings(options), _occasion(), OtherWork()
    results = alternate(settings, options.repeats, lambda text: print(text, file=sys.stderr))
    append(RESULTS, results, occasion)
    print(f"{occasion.machine}, {settings.threads} threads, {settings.model.name}, commit {occasion.commit}")
    print(f"other work on the machine meanwhile: {whole.taken():.2f} CPUs of {os.cpu_count()}\n")
    print(table(results))
    return 1 if any(result.met is False for result in results) else 0


def _run(options: argparse.Namespace, chosen: list[Benchmark]) -> int:
    settings, occasion = _settings(options), _occasion()
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
