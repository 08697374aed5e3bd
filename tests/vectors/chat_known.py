"""Which of llama.cpp's cases about reading answers fail here, and why. All others pass.

Names are template and line of the vendored test. The test holds this list exact: a case that fails and does not stand
here is an error, and so is one that stands here and passes.
"""

from __future__ import annotations

__all__ = ["KNOWN"]

_OPENED = (
    "A call is required, so our prompt opens the thoughts itself, to know where the call must begin; the case's model "
    "opens them (or none), after a prompt that does not."
)
_SPELLED = (
    "The text of the end-of-turn token, spelled out in other tokens, is text here. It ends nothing: a user's word "
    "could be repeated so."
)
_NOBODY = (
    "A message to a function that nobody declared. llama.cpp drops what it says; here it comes as text, as everything "
    "does that is no call of a declared tool."
)

KNOWN: dict[str, str] = {
    "google-gemma-4-31B-it:3046": _OPENED,
    "google-gemma-4-31B-it:3054": _OPENED,
    "inclusionai-ling-3.0-flash:4716": (
        "Thoughts are left in the text, and the prompt has opened them. Ours repeats the opening tag, as llama.cpp "
        "does for every other family but this one."
    ),
    "inclusionai-ling-3.0-flash:4742": _SPELLED,
    "inclusionai-ling-3.0-flash:4748": _SPELLED,
    "inclusionai-ling-3.0-flash:4841": (
        "A message with thoughts and no text is continued. llama.cpp's caller says that the text begins; by OpenAI's "
        "API nobody can, and ours goes on with the thoughts."
    ),
    "moonshotai-Kimi-K2:5216": (
        "Thoughts are continued with a template that shows none. Ours is a TemplateError: what the model would go on "
        "with is not in the prompt."
    ),
    "openai-gpt-oss-120b:6547": _NOBODY,
    "openai-gpt-oss-120b:6556": _NOBODY,
}
"""Name -> reason."""
