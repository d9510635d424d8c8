"""The normal operator of multicoil Cartesian MRI: ours, sigpy's, plain torch, and the bare FFTs it needs.

    python benchmarks/normal_operator.py          # 128x160x160, 8 coils; writes results/normal_operator.json
    python benchmarks/normal_operator.py --small  # a toy size, for CI; writes nothing

Bars: 12 times faster than sigpy's ``Sense(...).N``, and at most 1.8 times the bare FFTs: the same plans on
the same scratch planes, forward and back, with nothing else, not even the reading and writing of the data.
"""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Callable
from typing import Any

import numpy as np
from common import measure, save

from mrrecon.operators import fft, ifft, make_mask
from mrrecon.operators.backend import num_threads
from mrrecon.operators.encoding import CartesianEncoding
from mrrecon.operators.fourier import InPlaceFFT, fft_library
from mrrecon.operators.parallel import ScratchPool, run_slabs

FASTER_THAN_SIGPY, TIMES_BARE_FFTS = 12.0, 1.8
PEERS = ("sigpy", "torch, full 3D FFT")


def bare_ffts(encoding: CartesianEncoding) -> Callable[[], None]:
    """Forward and inverse FFT of every plane of every coil, in the slabs of ours, all in cache."""
    pool = ScratchPool(lambda: InPlaceFFT(encoding.slab_shape, (2, 3), measure=True))
    slabs = encoding.oshape[1] // encoding.slab_shape[1]

    def slab(_: int, work: InPlaceFFT) -> None:
        for _ in range(2 * encoding.oshape[0] // encoding.slab_shape[0]):
            work.transform()

    return lambda: run_slabs(slabs, slab, pool, num_threads() if slabs > num_threads() else 1)


def plain_torch(maps: np.ndarray, mask: np.ndarray, image: np.ndarray) -> Callable[[], np.ndarray]:
    """The definition in torch, full 3D FFT of all coils at once; no shifts, the mask is in FFT order."""
    import torch

    torch.set_num_threads(num_threads())
    s, x = torch.from_numpy(maps), torch.from_numpy(image)
    m = torch.from_numpy(np.fft.ifftshift(mask))
    axes = (-3, -2, -1)
    return lambda: (s.conj() * torch.fft.ifftn(m * torch.fft.fftn(s * x, dim=axes), dim=axes)).sum(0).numpy()


def main() -> None:
    """Measure all in one run and save the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="a toy size; nothing is written")
    small = parser.parse_args().small
    shape, coils = ((16, 40, 40), 4) if small else ((128, 160, 160), 8)

    import sigpy.mri

    rng = np.random.default_rng(0)
    maps, image = (
        rng.standard_normal((*size, 2), dtype=np.float32).view(np.complex64)[..., 0]
        for size in ((coils, *shape), shape)
    )
    mask = make_mask("poisson", shape[1:], 2.0 if small else 8.0, seed=0)
    encoding = CartesianEncoding(maps, mask)
    sigpy_normal = sigpy.mri.linop.Sense(maps, weights=mask.astype(np.float32)).N
    out, kspace = np.empty_like(image), encoding.forward(image)
    functions: dict[str, Callable[[], Any]] = {
        "ours": lambda: encoding.normal(image, out),
        "sigpy": lambda: sigpy_normal(image),
        "bare FFTs": bare_ffts(encoding),
        "ours, forward": lambda: encoding.forward(image),
        "ours, adjoint": lambda: encoding.adjoint(kspace),
        "centred FFT of all coils along x": lambda: ifft(fft(kspace, 1, out=kspace), 1, out=kspace),
    }
    reference = sigpy_normal(image)
    errors = {"sigpy": float(np.linalg.norm(encoding.normal(image) - reference) / np.linalg.norm(reference))}
    if importlib.util.find_spec("torch") is not None:
        functions[PEERS[1]] = plain_torch(maps, mask, image)
        difference = encoding.normal(image) - functions[PEERS[1]]()
        errors["torch"] = float(np.linalg.norm(difference) / np.linalg.norm(reference))
    seconds = measure(functions, repeat=5)
    result = {
        "what": "normal operator A^H A",
        "shape": shape,
        "coils": coils,
        "mask": "(y, z)",
        "threads": num_threads(),
        "fft_library": fft_library(),
        "seconds": seconds,
        "times_faster_than": {name: seconds[name] / seconds["ours"] for name in PEERS if name in seconds},
        "times_bare_ffts": seconds["ours"] / seconds["bare FFTs"],
        "relative_difference": errors,
        "bars": {"times_faster_than_sigpy": FASTER_THAN_SIGPY, "times_bare_ffts": TIMES_BARE_FFTS},
    }
    if small:
        print(result)
    else:
        save("normal_operator", result)


if __name__ == "__main__":
    main()
