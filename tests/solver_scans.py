"""For the solver tests: a small scan with a known answer, made by NumPy without the code under test."""

from __future__ import annotations

import numpy as np

from mrrecon.acquisition import Acquisition

SHAPE = (20, 32, 28)


def centred_fft(x: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    return np.fft.fftshift(np.fft.fftn(np.fft.ifftshift(x, axes), axes=axes, norm="ortho"), axes)


def head_like(shape: tuple[int, int, int]) -> np.ndarray:
    """Nested ellipsoids with a few blobs and a smooth phase."""
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    image = 1.0 * ((x / 0.85) ** 2 + (y / 0.8) ** 2 + (z / 0.75) ** 2 < 1)
    image -= 0.5 * ((x / 0.75) ** 2 + (y / 0.68) ** 2 + (z / 0.63) ** 2 < 1)
    for cx, cy, cz, r, v in (
        (0.2, 0.2, -0.1, 0.25, 0.5),
        (-0.3, -0.2, 0.2, 0.3, -0.3),
        (0, -0.4, -0.2, 0.2, 0.3),
    ):
        image += v * ((x - cx) ** 2 + (y - cy) ** 2 + (z - cz) ** 2 < r**2)
    return (image * np.exp(1j * (0.8 * x + 0.5 * y**2 - 0.7 * z))).astype(np.complex64)


def coil_maps(shape: tuple[int, int, int], coils: int) -> np.ndarray:
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    maps = np.empty((coils, *shape), np.complex64)
    for c in range(coils):
        angle = 2 * np.pi * c / coils
        distance = (y - 1.4 * np.cos(angle)) ** 2 + (z - 1.4 * np.sin(angle)) ** 2 + (x - 0.5 * (-1) ** c) ** 2
        maps[c] = np.exp(-0.6 * distance + 1j * (angle + 0.6 * y * np.sin(angle) + 0.4 * x))
    return maps / np.sqrt((np.abs(maps) ** 2).sum(axis=0))


def random_mask(shape: tuple[int, ...], fraction: float, block: int, rng: np.random.Generator) -> np.ndarray:
    mask = rng.random(shape) < fraction
    centre = tuple(slice(n // 2 - block // 2, n // 2 + block // 2) for n in shape)
    mask[centre] = True
    return mask


def make_scan(
    snr: float | None = 30,
    shape: tuple[int, int, int] = SHAPE,
    coils: int = 4,
    fraction: float = 0.3,
    volume_mask: bool = False,
    seed: int = 0,
) -> Acquisition:
    """An undersampled scan with true maps and reference; `snr` is that of tissue of brightness 1."""
    rng = np.random.default_rng(seed)
    image, maps = head_like(shape), coil_maps(shape, coils)
    kspace = centred_fft(maps * image, (1, 2, 3))
    if snr is not None:
        noise = rng.standard_normal(kspace.shape) + 1j * rng.standard_normal(kspace.shape)
        kspace = kspace + noise / (np.sqrt(2) * snr)
    mask = random_mask(shape if volume_mask else shape[1:], fraction, 12, rng)
    return Acquisition((kspace * mask).astype(np.complex64), mask, maps, reference=image)


def nrmse(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(20 * np.log10(np.abs(b).max() / np.sqrt(np.mean((np.abs(a) - np.abs(b)) ** 2))))
