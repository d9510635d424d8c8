"""How the CPU kernels are compiled by numba: once per machine, the GIL released."""

import numba

__all__ = ["compiled"]

# Reordering sums is allowed (vector units); NaN and Inf keep their meaning.
compiled = numba.njit(cache=True, nogil=True, fastmath={"contract", "nsz", "reassoc"}, error_model="numpy")
