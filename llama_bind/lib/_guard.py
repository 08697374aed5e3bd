"""Failed native assertions and C++ exceptions as Python errors.

llama.cpp ends the process on some inputs (``GGML_ASSERT``), or throws through its C interface. ``guard_h`` has a twin
``lb_NAME`` for each function of llama.h, gguf.h, mtmd.h, mtmd-helper.h and ggml-backend.h, with the same signature. The
protocol, on one thread::

    code = guard_h.lb_llama_decode(context, batch)
    if code < 0:
        check_guard()   # raises NativeAbortError if native code failed, returns if C merely said no

A twin that failed returns NULL, False, NaN, 0 for unsigned counts or INT32_MIN for signed ones, so the check is needed
only then; after a function without a result, or one whose 0 is ordinary, call it always. The state is per thread and
is reset by the thread's next guarded call. After an error close the object: what was half done stays half done.

Not for: crashes (segmentation faults), and assertions in ggml's worker threads; both stay fatal.
"""

from __future__ import annotations

import sys

from llama_bind.errors import NativeAbortError
from llama_bind.lib import guard_h

__all__ = ["check_guard"]


def check_guard() -> None:
    """Raise what the last guarded call of this thread caught, if anything, and forget it.

    The name of the calling Python function is part of the message.

    Raises:
        NativeAbortError: with the native message, file and line included where it was an assertion.
    """
    text = guard_h.lb_last_error()
    if text is None:
        return
    guard_h.lb_clear_error()
    native = text.decode("utf-8", "replace")
    caller = sys._getframe(1).f_code.co_name
    raise NativeAbortError(
        f"native code failed in {caller}: {native}. Close the object that was used; its state is undefined.",
        native_message=native,
    )
