"""Text as it is written, then the figures; and a stream that is left early: python streaming.py [MODEL]"""

from __future__ import annotations

import sys

from llama_bind import Llama
from llama_bind.hub import resolve_model


def main(model: str = "smollm2-135m-instruct") -> None:
    with Llama(resolve_model(model)) as llm:
        messages = [{"role": "user", "content": "Count from one to ten."}]
        usage = {"include_usage": True}
        for chunk in llm.create_chat_completion(messages, max_tokens=24, stream=True, stream_options=usage):
            if chunk["choices"]:
                print(chunk["choices"][0]["delta"].get("content") or "", end="", flush=True)
            else:  # the last one
                print(f"\n{chunk['usage']}\n{chunk['timings']['predicted_per_second']:.1f} tokens per second")

        for number, _ in enumerate(llm("This would go on for a long time:", stream=True), 1):
            if number == 3:
                break  # the model stops here
        print(f"stopped after {number} pieces")


if __name__ == "__main__":
    main(*sys.argv[1:])
