"""``mrrecon info``: what is in a k-space file or a result, and whether it follows the conventions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from mrrecon.commands.files import InputFile, ReadOptions
from mrrecon.commands.results import record_lines
from mrrecon.commands.shared import print_columns, read_scan

if TYPE_CHECKING:
    from mrrecon.acquisition import Acquisition

__all__ = ["info"]


def info(file: InputFile, read: ReadOptions | None = None) -> None:
    """Say what is in a k-space file (matrix, coils, geometry, sampling, noise, history) or in a result (its record).

    Parameters
    ----------
    file
        K-space file of any supported format, or a result (.h5) that mrrecon recon wrote.
    read
        Options for reading the file, each as --read.NAME VALUE; the last line lists those that its format takes.
    """
    from mrrecon.io import mrrecon_h5
    from mrrecon.reconstruction import Reconstruction

    if mrrecon_h5.is_reconstruction(file):
        rows = [("file", f"{file} (result of mrrecon)"), *record_lines(Reconstruction.load(file))]
    else:
        rows = list(_scan_lines(file, read or {}))
    print_columns(rows)


def _scan_lines(file: str, read: dict[str, Any]) -> Iterator[tuple[str, str]]:
    from mrrecon import io

    scan = read_scan(file, read, lazy=True)
    form = io.formats()[read["format"]] if "format" in read else io.detect(file)
    x, y, z = scan.shape
    yield "file", f"{file} ({form.title})"
    yield "matrix", f"{x} x {y} x {z} (readout {scan.readout})"
    yield "coils", str(scan.n_coils)
    yield "voxel", " x ".join(f"{v:.4g}" for v in scan.voxel_size) + " mm"
    domains = zip("xyz", scan.domains, strict=True)
    yield "axes", ", ".join(f"{a}: {'image' if d == 'image' else 'k-space'}" for a, d in domains)
    sampled = f"{np.count_nonzero(scan.mask)} of {scan.mask.size} positions"
    yield "sampling", f"R = {scan.acceleration:.3f} ({sampled})"
    yield "calibration", _describe_region(scan.mask)
    yield "centre", _describe_centre(scan)
    yield "maps", "none" if scan.maps is None else f"shape {tuple(scan.maps.shape)}"
    known = "unknown" if scan.noise_covariance is None else "covariance known"
    yield "noise", "whitened" if scan.is_whitened else known
    yield "reference", "none" if scan.reference is None else "in the file"
    yield "in memory", f"{scan.n_coils * x * y * z * 8 / 2**30:.2f} GiB of k-space"
    for step in scan.provenance:
        yield "history", f"{step.name} {dict(step.settings) or ''}"
    options = io.reader_options(form).items()
    yield (
        "options",
        "for every command that reads it: " + ", ".join(f"--read.{name}{_default(value)}" for name, value in options),
    )


def _default(value: Any) -> str:
    return "" if value is None or value == "" else f" ({str(value).lower() if isinstance(value, bool) else value})"


def _describe_centre(scan: Acquisition) -> str:
    """Where the energy of the middle readout position peaks, which should be the middle of (y, z)."""
    middle = scan.slab(scan.shape[0] // 2, scan.shape[0] // 2 + 1)
    energy = (np.abs(middle) ** 2).sum(axis=(0, 1))
    found = tuple(int(i) for i in np.unravel_index(energy.argmax(), energy.shape))
    expected = tuple(n // 2 for n in scan.shape[1:])
    if max(abs(a - b) for a, b in zip(found, expected, strict=True)) <= 2:
        return f"energy peaks at (y, z) = {found}, the middle being {expected}"
    return (
        f"energy peaks at (y, z) = {found}, NOT at the middle {expected}: the k-space may be in FFT order "
        "(numpy.fft.fftshift it) or its axes may be in another domain"
    )


def _describe_region(mask: np.ndarray) -> str:
    from mrrecon import operators
    from mrrecon.errors import CalibrationError

    try:
        return "fully sampled block " + " x ".join(map(str, operators.calibration_region(mask)))
    except CalibrationError as error:
        return str(error)
