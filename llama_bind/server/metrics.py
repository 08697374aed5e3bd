"""The engine's counters as a page for Prometheus, under names of our own and under llama-server's.

Nothing is registered and nothing is counted here: a page is made from a copy of the counters when it is asked for. Not
for: counting (``engine.stats``, ``gate``).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from llama_bind.engine.histogram import Histogram
from llama_bind.engine.stats import EngineStats

if TYPE_CHECKING:
    from llama_bind.server.gate import Traffic
    from llama_bind.server.service import Service

__all__ = ["CONTENT_TYPE", "page"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
GAUGES = frozenset({"waiting", "running", "cells_used", "cells_total", "longest"})
EVERY = 3
"""One bucket of so many is shown: three for each factor of ten are plenty for a graph."""

WORDS = {
    "queue_seconds": "Seconds from a request's arrival to its start.",
    "first_token_seconds": "Seconds from a request's arrival to its first token.",
    "token_seconds": "Seconds between two tokens of a text.",
    "total_seconds": "Seconds from a request's arrival to its end.",
    "step_seconds": "Seconds of a step of the engine.",
    "step_tokens": "Tokens computed in a step.",
    "step_decoding": "Texts that got a token in a step.",
    "step_prompt": "Tokens of prompts in a step.",
    "waiting": "Requests that wait.",
    "running": "Requests that run.",
    "cells_used": "Tokens that the context's memory holds.",
    "cells_total": "Tokens that it could hold.",
}


class _Families:
    """What a registry asks for its metrics."""

    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def page(models: Sequence[tuple[Service, EngineStats | None]], traffic: Traffic, budget: int | None = None) -> bytes:
    """The page.

    Args:
        models: What is served, with its counters where there are any. Of several each has the label model.
        traffic: What the gate counted.
        budget: Bytes of memory for all models.
    """
    families: list[Metric] = list(_traffic(traffic))
    if budget is not None:
        families.append(_gauge("llama_bind_memory_budget_bytes", "Memory for all models.", budget))
    merged: dict[str, Metric] = {}
    for service, stats in models:
        found = [_gauge("llama_bind_ready", "Whether the model is ready.", service.llm is not None)]
        if budget is not None:
            found.append(_gauge("llama_bind_model_bytes", "Memory that the model counts with.", service.size))
        if stats is not None:
            found += [*_own(stats), *_llama_server(stats)]
        for family in found:
            if len(models) > 1:
                _label(family, service.names[0])
            if family.name in merged:
                merged[family.name].samples += family.samples
            else:
                merged[family.name] = family
    families += merged.values()
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Families(families))
    return generate_latest(registry)


def _label(family: Metric, name: str) -> None:
    family.samples = [sample._replace(labels={"model": name, **sample.labels}) for sample in family.samples]


def _traffic(traffic: Traffic) -> Iterable[Metric]:
    answers = CounterMetricFamily("llama_bind_http_requests", "Answers by path and status.", labels=["path", "status"])
    for (path, status), count in sorted(traffic.answers.items()):
        answers.add_metric([path, str(status)], count)
    return (answers, _gauge("llama_bind_http_requests_open", "Requests without an answer yet.", traffic.open))


def _own(stats: EngineStats) -> Iterable[Metric]:
    for field in dataclasses.fields(stats):
        value = getattr(stats, field.name)
        name, words = f"llama_bind_{field.name}", WORDS.get(field.name, f"See EngineStats.{field.name}.")
        if isinstance(value, Histogram):
            buckets = [(_bound(bound), float(count)) for bound, count in value.cumulative(EVERY)]
            yield HistogramMetricFamily(name, words, buckets=buckets, sum_value=value.sum)
        elif field.name in GAUGES:
            yield _gauge(name, words, value)
        else:
            yield CounterMetricFamily(name, words, value=value)


def _bound(bound: float) -> str:
    return "+Inf" if math.isinf(bound) else f"{bound:g}"


def _gauge(name: str, words: str, value: float) -> Metric:
    return GaugeMetricFamily(name, words, value=float(value))


def _llama_server(stats: EngineStats) -> Iterable[Metric]:
    """llama-server's names, where there is the same thing here."""
    decoding, steps = stats.step_decoding, max(stats.steps, 1)
    seconds = stats.token_seconds.sum
    prompts = max(stats.first_token_seconds.sum - stats.queue_seconds.sum, 0.0)
    yield CounterMetricFamily("llamacpp:prompt_tokens", "Prompt tokens computed.", value=stats.prompt_tokens)
    yield CounterMetricFamily("llamacpp:prompt_tokens_cached", "Prompt tokens from memory.", value=stats.cached_tokens)
    yield CounterMetricFamily("llamacpp:prompt_seconds", "Seconds from start to first token.", value=prompts)
    yield _gauge("llamacpp:prompt_tokens_seconds", "Prompt tokens per second.",
                 stats.prompt_tokens / prompts if prompts else 0.0)  # fmt: skip
    yield _gauge("llamacpp:n_tokens_max", "Tokens of the longest text, prompt and answer.", stats.longest)
    yield CounterMetricFamily("llamacpp:spec_decode_num_drafts", "Steps with guesses.", value=stats.drafts)
    yield CounterMetricFamily("llamacpp:tokens_predicted", "Tokens generated.", value=stats.generated_tokens)
    yield CounterMetricFamily("llamacpp:tokens_predicted_seconds", "Seconds of generating.", value=seconds)
    yield _gauge("llamacpp:predicted_tokens_seconds", "Mean tokens per second of a text.",
                 stats.token_seconds.count / seconds if seconds else 0.0)  # fmt: skip
    yield _gauge("llamacpp:requests_processing", "Requests that run.", stats.running)
    yield _gauge("llamacpp:requests_deferred", "Requests that wait.", stats.waiting)
    yield CounterMetricFamily("llamacpp:n_decode", "Steps.", value=stats.steps)
    yield _gauge("llamacpp:n_busy_slots_per_decode", "Texts in a step, on the average.", decoding.sum / steps)
    yield CounterMetricFamily("llamacpp:spec_decode_num_draft_tokens", "Tokens guessed.", value=stats.drafted_tokens)
    yield CounterMetricFamily("llamacpp:spec_decode_num_accepted_tokens", "Guessed right.", value=stats.accepted_tokens)
