"""One place that knows which array library is in use: NumPy (CPU), CuPy (GPU), and torch at the door.

Public operators accept NumPy, CuPy and torch arrays and return the kind they were given, on the device they
were given. Inside, only NumPy and CuPy arrays exist: torch CPU tensors are viewed as NumPy arrays, torch CUDA
tensors as CuPy arrays through DLPack; neither direction copies.
"""

from __future__ import annotations

import os
import sys
from types import ModuleType
from typing import Any

import numpy as np

from mrrecon.errors import DataError, MissingDependencyError

__all__ = [
    "as_array",
    "as_kind",
    "get_array_module",
    "has_cupy",
    "is_torch",
    "num_threads",
    "to_device",
    "to_numpy",
    "writeable_view",
]


def num_threads() -> int:
    """Number of CPU threads to use: ``$MRRECON_NUM_THREADS``, else the cores this process may run on."""
    setting = os.environ.get("MRRECON_NUM_THREADS", "")
    if setting.isdigit() and int(setting) > 0:
        return int(setting)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


def has_cupy() -> bool:
    """Whether CuPy is installed, with the CUDA libraries that it needs, and sees at least one GPU."""
    try:
        import cupy
    except ImportError:
        return False
    try:
        return int(cupy.cuda.runtime.getDeviceCount()) > 0
    except cupy.cuda.runtime.CUDARuntimeError:
        return False


def is_torch(x: Any) -> bool:
    """Whether `x` is a torch tensor (without importing torch)."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(x, torch.Tensor)


def _is_cupy(x: Any) -> bool:
    cupy = sys.modules.get("cupy")
    return cupy is not None and isinstance(x, cupy.ndarray)


def get_array_module(*arrays: Any) -> ModuleType:
    """Return ``cupy`` if any of `arrays` is a CuPy array, else ``numpy``."""
    if any(_is_cupy(a) for a in arrays):
        return sys.modules["cupy"]
    return np


def as_array(x: Any) -> Any:
    """View `x` as a NumPy or CuPy array: torch tensors without a copy, anything else by ``numpy.asarray``.

    Raises
    ------
    DataError
        If a torch tensor requires grad: use the autograd view of the operator for that.
    """
    if is_torch(x):
        if x.requires_grad:
            raise DataError(
                "The tensor requires grad, which NumPy and CuPy cannot follow; call operators.autograd(A)(x) "
                "to differentiate through an operator, or x.detach() to drop the gradient."
            )
        x = x.resolve_conj().resolve_neg()
        if x.device.type == "cuda":
            import cupy

            return cupy.from_dlpack(x.contiguous())
        return x.numpy()
    return x if _is_cupy(x) else np.asarray(x)


def as_kind(array: Any, template: Any) -> Any:
    """Return `array` as the kind (NumPy, CuPy, torch) of `template`, on its device, sharing memory if possible."""
    if is_torch(template):
        import torch

        if _is_cupy(array):
            return torch.from_dlpack(array).to(template.device)
        return torch.from_numpy(writeable_view(array)).to(template.device)
    if _is_cupy(template):
        import cupy

        return cupy.asarray(array)
    return to_numpy(array)


def to_numpy(x: Any) -> np.ndarray:
    """Copy or view any array as NumPy on the CPU."""
    x = as_array(x)
    return x.get() if _is_cupy(x) else x


def to_device(x: Any, device: str) -> Any:
    """Move an array to ``"cpu"`` (NumPy) or ``"cuda"`` (CuPy).

    Raises
    ------
    MissingDependencyError
        If ``"cuda"`` is asked for and CuPy or a GPU is missing.
    """
    if device == "cpu":
        return to_numpy(x)
    if device != "cuda":
        raise ValueError(f"device must be 'cpu' or 'cuda', got {device!r}.")
    if not has_cupy():
        raise MissingDependencyError(
            "Device 'cuda' needs CuPy and an NVIDIA GPU: install with pip install 'mrrecon[cuda12]' (or cuda13), "
            "or use --device cpu."
        )
    import cupy

    return cupy.asarray(as_array(x))


def writeable_view(x: np.ndarray) -> np.ndarray:
    """View a contiguous NumPy array that may be read-only as a writeable one, sharing memory.

    Only for handing data to code that needs the flag but does not write (numba specialisations, torch).
    Arrays backed by a read-only memory map are copied instead.
    """
    if x.flags.writeable:
        return x
    root = x
    while isinstance(root.base, np.ndarray) and not isinstance(root, np.memmap):
        root = root.base
    if root.base is not None or isinstance(root, np.memmap):
        return x.copy()

    return np.asarray(_WriteableMemory(x))


class _WriteableMemory:
    """The memory of an array, offered with the writeable flag set."""

    def __init__(self, owner: np.ndarray) -> None:
        interface = owner.__array_interface__
        self.owner = owner
        self.__array_interface__ = {**interface, "data": (interface["data"][0], False)}
