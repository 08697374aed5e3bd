"""Speed of llama_bind beside llama.cpp's own programs, on this machine, from one command (``python -m benchmarks
run``).

``registry`` what a benchmark is; ``cases`` the benchmarks, one module each; ``pairs`` runs both sides in turn;
``side`` one side in a process of its own; ``programs`` builds and runs llama.cpp's programs; ``raw`` llama.cpp
through the bare C API; ``native_time`` the time inside native calls; ``stats`` and ``report`` medians, ratios,
tables.

Not for: tests (nothing here decides whether the package works), and not shipped with the package.
"""
