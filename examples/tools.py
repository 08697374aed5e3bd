"""A model that calls Python functions: python tools.py [MODEL]"""

from __future__ import annotations

import sys

from llama_bind import Llama
from llama_bind.agent import RunFinished, TextDelta, ToolFinished, ToolStarted
from llama_bind.hub import resolve_model

POPULATION = {"Rome": 2_750_000, "Paris": 2_050_000, "Berlin": 3_800_000}


def population(city: str) -> int:
    """The number of people who live in a city.

    Args:
        city: Its English name.
    """
    return POPULATION[city]  # a KeyError would be told to the model, which may try again


def main(model: str = "smollm2-135m-instruct") -> None:
    messages = [{"role": "user", "content": "How many people live in Rome?"}]
    with Llama(resolve_model(model)) as llm:
        events = llm.stream_tools(
            messages,
            [population],
            tool_choice="required",  # so small a model would rather guess
            parallel_tool_calls=False,
            max_rounds=2,
            max_tokens=64,
            temperature=0,
        )
        for event in events:
            match event:
                case TextDelta(text):
                    print(text, end="", flush=True)
                case ToolStarted(call):
                    print(f"calling {call.name}({call.arguments})")
                case ToolFinished(outcome):
                    print(f"{outcome.kind}: {outcome.content}")
                case RunFinished(result):
                    print(f"\n{len(result.rounds)} answers, {result.usage.total_tokens} tokens")


if __name__ == "__main__":
    main(*sys.argv[1:])
