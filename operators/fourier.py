"""The centred unitary FFT, over any axes, and the in-place FFT on scratch memory that the engines use.

The centred FFT has zero frequency, and the image centre, at index ``n // 2``; it is
``fftshift(fftn(ifftshift(x)))`` with orthonormal scaling. The CPU path works in blocks that fit the cache:
each block is copied in with its halves exchanged, transformed in place and copied out likewise, so that
memory is read once and written once.
"""

from __future__ import annotations

import importlib
import importlib.util
import itertools
import math
import threading
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import numpy as np

from mrrecon.errors import DataError, ShapeError
from mrrecon.operators.backend import as_array, as_kind, get_array_module, num_threads
from mrrecon.operators.centre import from_centre
from mrrecon.operators.parallel import ScratchPool, run_slabs

__all__ = ["InPlaceFFT", "fft", "fft_library", "ifft", "roll_phase"]

BLOCK_BYTES = 512 << 10  # of a block that is transformed in cache
ROW_PADDING = 8  # elements, one cache line
_planner = threading.Lock()  # FFTW plans one transform at a time


def fft_library() -> str:
    """CPU FFT library in use: ``"fftw"`` if pyfftw is installed (extra ``fftw``), else ``"scipy"``."""
    return "scipy" if importlib.util.find_spec("pyfftw") is None else "fftw"


def roll_phase(n: int, roll: int) -> np.ndarray:
    """Factors ``(n,)``, complex64, on an image along an axis whose k-space is rolled by so many samples."""
    return np.exp(2j * np.pi / n * roll * from_centre(n)).astype(np.complex64)


class InPlaceFFT:
    """FFT of one fixed buffer, in place, on one thread, without scaling; callers fold the scale into their
    weights.

    Parameters
    ----------
    shape, axes
        Of the buffer, and the axes to transform.
    xp
        ``numpy`` or ``cupy``.
    dtype
        ``complex64`` or ``complex128``.
    inverse
        The sign of the exponent: minus for the forward transform, plus for the inverse.
    measure
        Let FFTW try its algorithms first (0.1 to 0.2 s once per shape, twice as fast after): for transforms
        that are repeated often.

    Attributes
    ----------
    storage
        Contiguous memory whose rows are longer than the last axis of the buffer: transforms along the other
        axes would otherwise step by a power of two for many sizes, which maps all rows to the same few cache
        lines.
    buffer
        The view of `storage` to fill before, and to read after, `transform`.
    transform
        Call without arguments to transform the buffer.
    """

    def __init__(
        self,
        shape: Sequence[int],
        axes: Sequence[int],
        xp: ModuleType = np,
        dtype: Any = np.complex64,
        *,
        inverse: bool = False,
        measure: bool = False,
    ) -> None:
        padded = (*shape[:-1], shape[-1] + (ROW_PADDING if xp is np else 0))
        self.storage: Any
        self.transform: Callable[[], Any]
        if xp is np and fft_library() == "fftw":
            import pyfftw

            self.storage = pyfftw.empty_aligned(padded, dtype=np.dtype(dtype).name)
            self.buffer = self.storage[..., : shape[-1]]
            direction = "FFTW_BACKWARD" if inverse else "FFTW_FORWARD"
            effort = ("FFTW_MEASURE" if measure else "FFTW_ESTIMATE",)
            with _planner:
                plan = pyfftw.FFTW(self.buffer, self.buffer, axes=axes, direction=direction, flags=effort)
            self.transform = plan.execute
            self.storage[...] = 0
            return
        library = importlib.import_module("scipy.fft" if xp is np else "cupyx.scipy.fft")
        self.storage = xp.zeros(padded, dtype=dtype)
        self.buffer = buffer = self.storage[..., : shape[-1]]
        function, norm = (library.ifftn, "forward") if inverse else (library.fftn, "backward")

        def transform() -> None:
            done = function(buffer, axes=axes, norm=norm, overwrite_x=True)
            if done is not buffer:
                buffer[...] = done

        self.transform = transform


def fft(x: Any, axes: Sequence[int] | int | None = None, *, out: Any = None) -> Any:
    """Centred orthonormal FFT, image to k-space.

    Parameters
    ----------
    x
        NumPy, CuPy or torch array; double precision stays double, everything else becomes ``complex64``.
    axes
        Axes to transform; all of them when not given.
    out
        Where to write the result: complex, of the shape and kind of `x`; may be `x` itself.

    Returns
    -------
    The transform, of the kind and on the device of `x`.

    Raises
    ------
    ShapeError, DataError
        If an axis does not exist or is named twice, or if `out` does not fit.

    Examples
    --------
    >>> import numpy as np
    >>> abs(fft(np.ones(4)))
    array([0., 0., 2., 0.])
    """
    return _centred(x, axes, out, inverse=False)


def ifft(x: Any, axes: Sequence[int] | int | None = None, *, out: Any = None) -> Any:
    """Centred orthonormal inverse FFT, k-space to image: the inverse and the adjoint of :func:`fft`."""
    return _centred(x, axes, out, inverse=True)


def _centred(x: Any, axes: Sequence[int] | int | None, out: Any, inverse: bool) -> Any:
    a = as_array(x)
    xp = get_array_module(a)
    chosen = _check_axes(axes, a.ndim)
    if a.dtype.kind not in "biufc":
        raise DataError(f"The FFT needs numbers, got dtype {a.dtype}; convert with x.astype(numpy.complex64).")
    dtype = np.dtype(np.complex128 if a.dtype in (np.float64, np.complex128) else np.complex64)
    if out is None:
        result = xp.empty(a.shape, dtype=dtype)
    else:
        result = as_array(out)
        if result.shape != a.shape or result.dtype != dtype or get_array_module(result) is not xp:
            raise ShapeError(
                f"out must be {xp.__name__}, {dtype}, of shape {a.shape}, to take the FFT of x; "
                f"got {get_array_module(result).__name__}, {result.dtype}, {result.shape}."
            )
    if xp is np:
        _blocks(a, result, chosen, inverse)
    else:
        _whole(a, result, chosen, inverse, xp)
    return as_kind(result, x) if out is None else out


def _check_axes(axes: Sequence[int] | int | None, ndim: int) -> tuple[int, ...]:
    if axes is None:
        return tuple(range(ndim))
    given = (axes,) if isinstance(axes, int) else tuple(axes)
    chosen = tuple(sorted({a % ndim for a in given if -ndim <= a < ndim}))
    if len(chosen) != len(given):
        raise ShapeError(f"FFT axes must be distinct and within -{ndim} .. {ndim - 1}, got {given}.")
    return chosen


def _blocks(a: np.ndarray, out: np.ndarray, axes: tuple[int, ...], inverse: bool) -> None:
    """Transform block by block on threads; one axis after the other where together they leave the cache."""
    if a.size == 0:
        return
    bytes_together = math.prod(a.shape[i] for i in axes) * out.itemsize
    if len(axes) > 1 and bytes_together > 2 * BLOCK_BYTES:
        _blocks(a, out, axes[1:], inverse)
        _blocks(out, out, axes[:1], inverse)
        return
    block = [n if i in axes else 1 for i, n in enumerate(a.shape)]
    for i in reversed(range(a.ndim)):
        if i not in axes:
            fits = max(1, BLOCK_BYTES // (math.prod(block) * out.itemsize))
            block[i] = math.ceil(a.shape[i] / math.ceil(a.shape[i] / fits))
    starts = list(itertools.product(*(range(0, n, b) for n, b in zip(a.shape, block, strict=True))))
    halves = [list(_halves(n)) if i in axes else [] for i, n in enumerate(a.shape)]
    scale = np.float64(1 / math.sqrt(math.prod(a.shape[i] for i in axes))).astype(out.real.dtype)

    def one(index: int, work: InPlaceFFT) -> None:
        start = starts[index]
        places = [
            halves[i] or [(slice(s, s + b), slice(0, min(b, a.shape[i] - s)))]
            for i, (s, b) in enumerate(zip(start, block, strict=True))
        ]
        pairs = [tuple(zip(*pair, strict=True)) for pair in itertools.product(*places)]
        for outside, inside in pairs:
            work.buffer[inside] = a[outside]
        work.transform()
        for outside, inside in pairs:
            np.multiply(work.buffer[inside], scale, out=out[outside])

    pool = ScratchPool(lambda: InPlaceFFT(block, axes, dtype=out.dtype, inverse=inverse))
    run_slabs(len(starts), one, pool, min(num_threads(), 1 + a.nbytes // BLOCK_BYTES))


def _halves(n: int) -> list[tuple[slice, slice]]:
    """Slices (centred array, FFT order) that exchange the halves of an axis; both ways, odd sizes too."""
    h = n // 2
    pairs = [(slice(h, n), slice(0, n - h)), (slice(0, h), slice(n - h, n))]
    return pairs if h else pairs[:1]


def _whole(a: Any, out: Any, axes: tuple[int, ...], inverse: bool, xp: ModuleType) -> None:
    """CuPy: by the definition, one leading index (coil) at a time where that axis is not transformed."""
    if a.ndim > 3 and 0 not in axes:
        for part, target in zip(a, out, strict=True):
            _whole(part, target, tuple(i - 1 for i in axes), inverse, xp)
        return
    transform = xp.fft.ifftn if inverse else xp.fft.fftn
    shifted = xp.fft.ifftshift(a.astype(out.dtype, copy=False), axes)
    out[...] = xp.fft.fftshift(transform(shifted, axes=axes, norm="ortho"), axes)
