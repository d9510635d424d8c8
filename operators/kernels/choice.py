"""Which kernels an array library takes."""

from __future__ import annotations

from types import ModuleType

import numpy as np

__all__ = ["encoding_kernels"]


def encoding_kernels(xp: ModuleType) -> ModuleType:
    """Return the kernels of the encoding engine for arrays of module `xp` (``numpy`` or ``cupy``)."""
    if xp is np:
        from mrrecon.operators.kernels import sense_cpu

        return sense_cpu
    from mrrecon.operators.kernels import cuda

    return cuda
