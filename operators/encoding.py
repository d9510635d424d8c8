"""The encoding engine: coil sensitivities, centred FFT and sampling mask of a Cartesian scan, fused slab by
slab.

The model is ``y_c = M F sum_s S_{s,c} x_s``. When the mask leaves the readout x alone, its FFT is unitary and
cancels in the normal operator, and the problem falls apart into planes of x: each plane goes through coil
multiply, 2D FFT, mask, inverse 2D FFT and coil combine while it is in the cache. The normal operator needs no
shifts either: ``F^H diag(m) F`` is a circular convolution, which commutes with them; only the mask is put
into FFT order, once.

References
----------
Pruessmann et al. 2001, Magn Reson Med 46:638, equations 2 and 9; several sets: Uecker et al. 2014, Magn Reson
Med 71:990, section "Reconstruction".
"""

from __future__ import annotations

import math
from collections.abc import Callable
from types import ModuleType
from typing import Any, Literal

import numpy as np

from mrrecon.errors import ShapeError
from mrrecon.operators.backend import as_array, as_kind, get_array_module, num_threads, to_numpy, writeable_view
from mrrecon.operators.encoding_checks import checked_mask, checked_out, operand
from mrrecon.operators.fourier import InPlaceFFT, fft, ifft
from mrrecon.operators.kernels import encoding_kernels
from mrrecon.operators.parallel import ScratchPool, run_slabs
from mrrecon.operators.vectors import cg_curvature, real_dot

__all__ = ["CartesianEncoding"]

CPU_SLAB_BYTES = 256 << 10  # of coil images in flight per thread; with maps and image in the L2 cache
CPU_THREAD_BYTES = 512 << 10  # of coil images that are worth another thread
MEASURE_BYTES = 16 << 20  # of coil images that are worth the measuring of FFT plans
GPU_SLAB_BYTES = 256 << 20  # of coil images that a GPU holds at once
SPARSE = 0.5  # share of the lines up to which it pays to transform only these


def _largest_divisor(n: int, limit: int) -> int:
    """Largest divisor of n up to `limit`, at least 1."""
    return max(d for d in range(1, n + 1) if n % d == 0 and d <= max(1, limit))


class CartesianEncoding:
    """Plan of the SENSE encoding operator, its adjoint and its normal operator.

    Parameters
    ----------
    maps
        Coil sensitivity maps ``(coils, x, y, z)``, or ``(sets, coils, x, y, z)`` for several sets; NumPy,
        CuPy or torch. Their device is the device of the plan.
    mask
        Sampling pattern, bool, ``(y, z)`` or ``(x, y, z)``, centred.
    readout_domain
        Domain of axis x of k-space: ``"image"`` for hybrid space (2D FFTs over y and z; an ``(x, y, z)`` mask
        is then one mask per plane), ``"kspace"`` for k-space along all three axes.
    threads
        CPU threads; all available cores when not given.

    Attributes
    ----------
    ishape, oshape
        Shape of images, ``(x, y, z)`` or ``(sets, x, y, z)``, and of k-space, ``(coils, x, y, z)``.
    slab_shape
        Coil images ``(coils, x, y, z)`` that each thread has in flight at once.

    Raises
    ------
    ShapeError, DataError, MaskError
        If maps and mask do not fit each other or are of the wrong kind.

    Notes
    -----
    Computes in single precision. Images and k-space may be NumPy, CuPy or torch on the device of the maps;
    the result is of the kind given. One plan may be used from several threads at once.
    """

    def __init__(
        self,
        maps: Any,
        mask: Any,
        readout_domain: Literal["image", "kspace"] = "image",
        threads: int | None = None,
    ) -> None:
        if readout_domain not in ("image", "kspace"):
            raise ValueError(f"readout_domain must be 'image' or 'kspace', got {readout_domain!r}.")
        m = as_array(maps)
        if m.ndim not in (4, 5) or 0 in m.shape:
            raise ShapeError(
                "Sense: maps must have the axes (coils, x, y, z) or (sets, coils, x, y, z), none empty; "
                f"got shape {m.shape}."
            )
        self.xp: ModuleType = get_array_module(m)
        self.readout_domain = readout_domain
        self.threads = threads
        self.ishape: tuple[int, ...] = m.shape[-3:] if m.ndim == 4 else (m.shape[0], *m.shape[-3:])
        self.oshape: tuple[int, ...] = m.shape[-4:]
        self.maps = operand(m, "maps", self.xp).reshape(-1, *self.oshape)
        self.mask = checked_mask(mask, self.oshape[1:], self.xp)
        self._kernels = encoding_kernels(self.xp)
        self._volume = readout_domain == "kspace" and self.mask.shape[0] > 1
        self._plane_mask = self.xp.ones((1, *self.mask.shape[1:]), dtype=bool) if self._volume else self.mask
        axes = (0, 1, 2) if self._volume else (1, 2)
        self._weights = self.xp.fft.ifftshift(self.mask, axes).astype(np.float32)
        self._weights /= np.float32(math.prod(self.ishape[-3:][a] for a in axes))
        taken = np.flatnonzero(to_numpy(self._plane_mask[0]))
        self._lines_taken = taken if self.xp is np and taken.size <= SPARSE * math.prod(self.oshape[2:]) else None
        self._make_scratch()

    def _make_scratch(self) -> None:
        """Decide how much of the problem is in flight at once; FFT plans are made on first use."""
        xp, (coils, nx, ny, nz) = self.xp, self.oshape
        plane, threads = 8 * ny * nz, self.threads or num_threads()
        if xp is np:
            self._chunk = _largest_divisor(coils, CPU_SLAB_BYTES // plane)
            self._step = _largest_divisor(nx, CPU_SLAB_BYTES // (plane * coils))
            self._workers = max(1, min(threads, coils * nx * plane // CPU_THREAD_BYTES))
        else:
            self._chunk = 1 if self.readout_domain == "kspace" else coils
            self._step = max(1, min(nx, GPU_SLAB_BYTES // (plane * self._chunk)))
            self._workers = 1
        slab = self.slab_shape = (self._chunk, self._step, ny, nz)
        lines, measure = (self._chunk, nx, nz), coils * nx * plane >= MEASURE_BYTES
        self._slabs = ScratchPool(lambda: InPlaceFFT(slab, (2, 3), xp, measure=measure))
        self._lines = ScratchPool(lambda: InPlaceFFT(lines, (1,), xp, measure=measure))
        self._volumes = ScratchPool(lambda: InPlaceFFT((1, nx, ny, nz), (1, 2, 3), xp))

    def __repr__(self) -> str:
        masked = "(y, z)" if self.mask.shape[0] == 1 else "(x, y, z)"
        readout = f"readout in {self.readout_domain}"
        return f"CartesianEncoding({self.ishape} -> {self.oshape}, mask {masked}, {readout})"

    def __reduce__(self) -> tuple[Any, ...]:
        maps = self.maps.reshape(*self.ishape[:-3], *self.oshape)
        mask = self.mask[0] if self.mask.shape[0] == 1 else self.mask
        return type(self), (maps, mask, self.readout_domain, self.threads)

    # ---- the operator --------------------------------------------------------------------------------------

    def forward(self, image: Any) -> Any:
        """Encode an image: coil maps, FFT, mask.

        Parameters
        ----------
        image
            ``(x, y, z)`` or ``(sets, x, y, z)``; NumPy, CuPy or torch.

        Returns
        -------
        K-space ``(coils, x, y, z)``, ``complex64``, of the kind of `image`, zero where not sampled.

        Raises
        ------
        ShapeError, DataError
            If the image does not fit the maps, is on another device or is not numeric.
        """
        a = self._as_image(image)
        out = self.xp.empty(self.oshape, dtype=np.complex64)
        k, scale = self._kernels, self._plane_scale

        def slab(work: InPlaceFFT, x: int) -> None:
            for c in range(0, self.oshape[0], work.buffer.shape[0]):
                k.expand(self.maps, a, work.storage, c, x, True)
                work.transform()
                k.store(work.storage, self._plane_mask, out, c, x, scale)

        self._each_slab(slab)
        if self.readout_domain == "kspace":
            fft(out, axes=1, out=out)
        if self._volume:
            out *= self.mask
        return as_kind(out, image)

    def adjoint(self, kspace: Any) -> Any:
        """Apply the adjoint: mask, inverse FFT, combination with the conjugate maps.

        Parameters
        ----------
        kspace
            ``(coils, x, y, z)``; NumPy, CuPy or torch. Samples outside the mask are ignored.

        Returns
        -------
        Image ``(x, y, z)`` or ``(sets, x, y, z)``, ``complex64``, of the kind of `kspace`.

        Raises
        ------
        ShapeError, DataError
            If the k-space does not fit the maps, is on another device or is not numeric.
        """
        data = operand(as_array(kspace), "kspace", self.xp, self.oshape)
        out = self.xp.empty(self.maps.shape[:1] + self.oshape[1:], dtype=np.complex64)
        if self.readout_domain == "image":
            self._combine_planes(data, 0, out)
        else:
            hybrid = None
            for c in range(0, self.oshape[0], self._chunk):
                hybrid = self._hybrid(data[c : c + self._chunk], hybrid)
                self._combine_planes(hybrid, c, out)
        return as_kind(out.reshape(self.ishape), kspace)

    def normal(self, image: Any, out: Any = None) -> Any:
        """Apply the normal operator, ``adjoint(forward(image))``, without ever holding the k-space of all
        coils.

        Parameters
        ----------
        image
            ``(x, y, z)`` or ``(sets, x, y, z)``; NumPy, CuPy or torch.
        out
            Where to write the result: ``complex64``, contiguous, of the shape and kind of `image`, not
            `image` itself.

        Returns
        -------
        `out`, or a new array of the kind of `image`.

        Raises
        ------
        ShapeError, DataError
            If the image does not fit the maps, is on another device or is not numeric, or if `out` does not
            fit.
        """
        a = self._as_image(image)
        result = checked_out(out, a, self.ishape, self.xp)
        self._normal(a, result)
        return as_kind(result.reshape(self.ishape), image) if out is None else out

    def normal_energy(self, image: Any, out: Any = None, ridge: float = 0.0) -> tuple[Any, float]:
        """Apply ``N = A^H A + ridge``; return ``(N x, <x, N x>)``, what conjugate gradients need."""
        a = self._as_image(image)
        result = checked_out(out, a, self.ishape, self.xp)
        self._normal(a, result)
        energy = cg_curvature(a, result, ridge)
        return (as_kind(result.reshape(self.ishape), image) if out is None else out), energy

    def lipschitz(self) -> float:
        """Upper bound of the largest eigenvalue of the normal operator: that of ``S^H S``, the largest over
        all voxels.

        Mask and FFT cannot increase a norm, so the bound holds for every mask; it is reached, to a few per
        cent, as soon as a calibration region is sampled. For several sets, the eigenvalue is bounded by
        Gershgorin's circles.
        """
        xp, bounds = self.xp, [0.0] * self.oshape[1]

        def plane(x: int, work: Any) -> None:
            m = self.maps[:, :, x].reshape(work.shape)
            gram = xp.einsum("scv,tcv->stv", xp.conj(m, out=work), m)
            bounds[x] = float(xp.abs(gram).sum(axis=1).max())

        shape = (*self.maps.shape[:2], math.prod(self.oshape[2:]))
        run_slabs(len(bounds), plane, ScratchPool(lambda: xp.empty(shape, np.complex64)), self._workers)
        return max(bounds)

    def trace(self) -> float:
        """Trace of the normal operator: the energy of the maps times the share of k-space that is sampled.

        Exact unless the mask of hybrid space differs from plane to plane.
        """
        return real_dot(self.maps, self.maps) * float(self.mask.mean())

    def support(self) -> Any:
        """Voxels where some coil's map is not zero, bool, of the shape of an image."""
        found = self.xp.empty((self.maps.shape[0], *self.oshape[1:]), bool)

        def plane(x: int, _: None) -> None:
            found[:, x] = (self.maps[:, :, x] != 0).any(axis=1)

        run_slabs(self.oshape[1], plane, ScratchPool(lambda: None), self._workers)
        return found.reshape(self.ishape)

    # ---- how it is done ------------------------------------------------------------------------------------

    @property
    def _plane_scale(self) -> float:
        return 1 / math.sqrt(self.oshape[2] * self.oshape[3])

    def _each_slab(self, body: Callable[[InPlaceFFT, int], None]) -> None:
        """Call ``body(scratch, first plane)`` for slabs that cover x; on a GPU the last two may overlap, by
        ``-x % step`` planes of the last, x being its first.
        """
        nx, step = self.oshape[1], self._step
        run_slabs(-(-nx // step), lambda i, work: body(work, min(i * step, nx - step)), self._slabs, self._workers)

    def _combine_planes(self, data: Any, first: int, out: Any) -> None:
        """Combine hybrid k-space into `out`: the coils of `data`, of which the first is coil `first`."""
        k, scale = self._kernels, self._plane_scale

        def slab(work: InPlaceFFT, x: int) -> None:
            for c in range(0, data.shape[0], work.buffer.shape[0]):
                k.load(data, self._plane_mask, work.storage, c, x, scale)
                work.transform()
                if first + c > 0:
                    work.buffer[:, : -x % self._step] = 0  # added already, with the slab before
                k.combine(self.maps, work.storage, out, first + c, x, True)

        data = writeable_view(data) if self.xp is np else data
        self._each_slab(slab)

    def _hybrid(self, coils: Any, reused: Any = None) -> Any:
        """Inverse transform of k-space ``(coils, x, y, z)`` along x; of sparse lines on the CPU, only these.

        What lies between the lines is not set. `reused` is what was returned for other coils, and may be overwritten.
        """
        if self._volume:
            return ifft(self.xp.where(self.mask, coils, np.complex64(0)), axes=1)
        if self._lines_taken is None:
            return ifft(coils, axes=1)
        flat = (*coils.shape[:2], math.prod(coils.shape[2:]))
        hybrid = np.empty(coils.shape, np.complex64) if reused is None else reused
        lines = coils.reshape(flat).take(self._lines_taken, axis=2)
        lines = ifft(lines, axes=1)
        hybrid.reshape(flat)[:, :, self._lines_taken] = lines
        return hybrid

    def _normal(self, a: Any, out: Any) -> None:
        if self._volume and self.xp is np:
            self._normal_by_lines(a, out)
            return
        k = self._kernels

        def slab(work: InPlaceFFT, x: int) -> None:
            for c in range(0, self.oshape[0], work.buffer.shape[0]):
                k.expand(self.maps, a, work.storage, c, x, False)
                work.transform()
                k.weigh(work.storage, self._weights, x)
                work.transform()
                k.combine(self.maps, work.storage, out, c, x, False)

        if self._volume:
            run_slabs(1, lambda _, work: slab(work, 0), self._volumes, 1)
        else:
            self._each_slab(slab)

    def _normal_by_lines(self, a: Any, out: Any) -> None:
        """Full 3D on the CPU, coil by coil: planes through the cache, lines along x, planes again."""
        k, (_, nx, ny, nz) = self._kernels, self.oshape
        volume = np.empty((self._chunk, nx, ny, nz), dtype=np.complex64)

        def line(y: int, work: InPlaceFFT) -> None:
            work.buffer[...] = volume[:, :, y]
            work.transform()
            np.multiply(work.buffer.conj(), self._weights[:, y], out=work.buffer)
            work.transform()
            volume[:, :, y] = work.buffer

        for c in range(0, self.oshape[0], self._chunk):

            def forward(work: InPlaceFFT, x: int, c: int = c) -> None:
                k.expand(self.maps, a, work.storage, c, x, False)
                work.transform()
                volume[:, x : x + self._step] = work.buffer

            def inverse(work: InPlaceFFT, x: int, c: int = c) -> None:
                work.buffer[...] = volume[:, x : x + self._step]
                work.transform()
                k.combine(self.maps, work.storage, out, c, x, False)

            self._each_slab(forward)
            run_slabs(ny, line, self._lines, self._workers)
            self._each_slab(inverse)

    def _as_image(self, image: Any) -> Any:
        return operand(as_array(image), "image", self.xp, self.ishape).reshape(-1, *self.oshape[1:])
