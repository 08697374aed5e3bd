"""LoRA adapters: loaded for a model, switched on for contexts with `Context.set_adapters`.

Not for: control vectors (`Context.set_control_vector`), or making adapters.
"""

from __future__ import annotations

import functools
import os
import threading
from typing import TYPE_CHECKING

from llama_bind.core import log
from llama_bind.core.gguf_reader import GGUFFile, ValueType, read_gguf
from llama_bind.core.gguf_rules import MATRIX_TYPES
from llama_bind.core.handle import Handle
from llama_bind.core.text import read_text
from llama_bind.errors import AdapterError, NativeAbortError
from llama_bind.lib import guard_h, llama_h
from llama_bind.lib._guard import check_guard

if TYPE_CHECKING:
    from llama_bind.core.model import Model

__all__ = ["Adapter"]

# A model keeps a plain set of its adapters. Reentrant: the garbage collector may free one while another is loaded.
_lock = threading.RLock()


def _free(pointer: int) -> None:
    with _lock:
        llama_h.llama_adapter_lora_free(pointer)


class Adapter(Handle):
    """A LoRA adapter (``llama_adapter_lora``). Made by `load`; closed with its model. One that a context uses stays in
    memory until the context lets go of it.

    Attributes:
        model: the model that it belongs to.
        path: its file.
        alora_tokens: the tokens that switch an "activated" LoRA on, empty for an ordinary one.
    """

    def __init__(self, pointer: int, model: Model, path: str) -> None:
        super().__init__(pointer, _free, model)
        self.model = model
        self.path = path
        count = int(llama_h.llama_adapter_get_alora_n_invocation_tokens(pointer))
        tokens = llama_h.llama_adapter_get_alora_invocation_tokens(pointer) if count else None
        self.alora_tokens = tuple(int(tokens[i]) for i in range(count)) if tokens else ()

    @classmethod
    def load(cls, model: Model, path: str | os.PathLike[str]) -> Adapter:
        """Load an adapter for `model`.

        Raises:
            ModelNotFoundError: no such file.
            ModelFormatError: not a GGUF, or damaged.
            AdapterError: not a LoRA adapter, or not one of this model.
        """
        name = os.fspath(path)
        _check(model, name, read_gguf(name))
        place = log.mark()
        owner = model._resource
        model_pointer = owner.pin()
        try:
            with _lock:
                pointer = guard_h.lb_llama_adapter_lora_init(model_pointer, os.fsencode(name))
            check_guard()
            if not pointer:
                why = "; ".join(log.explain(place)) or "it gave no reason"
                raise AdapterError(f"llama.cpp could not load the adapter {name}: {why}", path=name)
            return cls(pointer, model, name)
        except NativeAbortError as error:
            raise AdapterError(f"llama.cpp failed on the adapter {name}: {error.native_message}", path=name) from error
        finally:
            owner.unpin()
            log.raise_pending()

    @functools.cached_property
    def metadata(self) -> dict[str, str]:
        """The metadata of the file as text, without its arrays."""
        count = int(llama_h.llama_adapter_meta_count(self.ptr))
        return {
            read_text(llama_h.llama_adapter_meta_key_by_index, self.ptr, index): read_text(
                llama_h.llama_adapter_meta_val_str_by_index, self.ptr, index
            )
            for index in range(count)
        }

    def __repr__(self) -> str:
        return f"<Adapter {self.path!r}{' closed' if self.closed else ''}>"


def _check(model: Model, path: str, file: GGUFFile) -> None:
    """What llama.cpp would fail an assertion on, and what it says in words that need explaining."""
    if model.params.vocab_only:
        raise AdapterError("the model was loaded with vocab_only=True: an adapter has nothing to adapt", path=path)
    kind = file.get("general.type")
    if kind != "adapter" or file.get("adapter.type") != "lora":
        raise AdapterError(f"{path} is not a LoRA adapter (general.type is {kind!r})", path=path)
    if file.architecture != model.arch:
        raise AdapterError(f"the adapter is for {file.architecture!r} models, this one is {model.arch!r}", path=path)
    if file.kind("adapter.lora.alpha") not in (None, ValueType.FLOAT32):
        raise AdapterError("adapter.lora.alpha must be a 32-bit float", path=path)
    for name, tensor in file.tensors.items():
        if tensor.type not in MATRIX_TYPES:
            raise AdapterError(f"tensor {name} has the type {tensor.type_name}, which is not for weights", path=path)
    shapes = {name: tuple(tensor.shape) for name, tensor in file.tensors.items()}
    for name, shape in shapes.items():
        if name.endswith(".lora_a"):
            other = shapes.get(name[: -len("a")] + "b")
            if other is not None and (len(shape) < 2 or shape[1:2] != other[:1] or shape[2:] != other[2:]):
                raise AdapterError(f"the shapes of {name} {shape} and its B {other} do not fit together", path=path)
