"""Small files of every format, written without the code under test (h5py, numpy, official ismrmrd)."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest

from mrrecon import Acquisition, Reconstruction

HEADER = """<?xml version="1.0"?>
<ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD">
 <acquisitionSystemInformation>{system}</acquisitionSystemInformation>
 <experimentalConditions><H1resonanceFrequency_Hz>63500000</H1resonanceFrequency_Hz></experimentalConditions>
 <encoding>
  <encodedSpace><matrixSize><x>{ex}</x><y>{ey}</y><z>{ez}</z></matrixSize>
   <fieldOfView_mm><x>{fx}</x><y>{fy}</y><z>{fz}</z></fieldOfView_mm></encodedSpace>
  <reconSpace><matrixSize><x>{rx}</x><y>{ry}</y><z>{ez}</z></matrixSize>
   <fieldOfView_mm><x>{gx}</x><y>{fy}</y><z>{fz}</z></fieldOfView_mm></reconSpace>
  <encodingLimits>{limits}</encodingLimits>
  <trajectory>{trajectory}</trajectory>
 </encoding>
</ismrmrdHeader>"""


def header(encoded, fov, recon_x=None, fov_x=None, limits="", trajectory="cartesian", system=""):
    """ISMRMRD XML."""
    return HEADER.format(
        ex=encoded[0], ey=encoded[1], ez=encoded[2], fx=fov[0], fy=fov[1], fz=fov[2],
        rx=recon_x or encoded[0], ry=encoded[1], gx=fov_x or fov[0],
        limits=limits, trajectory=trajectory, system=system,
    )  # fmt: skip


def limit(step, low, high, center):
    """One <kspace_encoding_step_N> element."""
    name = f"kspace_encoding_step_{step}"
    return f"<{name}><minimum>{low}</minimum><maximum>{high}</maximum><center>{center}</center></{name}>"


def centred_fft(image, axes):
    """Orthonormal centred FFT by NumPy alone."""
    shifted = np.fft.fftn(np.fft.ifftshift(image, axes=axes), axes=axes, norm="ortho")
    return np.fft.fftshift(shifted, axes=axes)


def centred_ifft(kspace, axes):
    """Inverse of centred_fft."""
    shifted = np.fft.ifftn(np.fft.ifftshift(kspace, axes=axes), axes=axes, norm="ortho")
    return np.fft.fftshift(shifted, axes=axes)


def phantom(shape, coils):
    """Coil images (coils, x, y, z) of an asymmetric, centred object with smooth coil weights."""
    grid = np.meshgrid(*[(np.arange(n) - n // 2) / n for n in shape], indexing="ij")
    body = sum((g / r) ** 2 for g, r in zip(grid, (0.35, 0.38, 0.33), strict=True)) < 1
    blob = sum((g - c) ** 2 for g, c in zip(grid, (0.1, -0.15, 0.05), strict=True)) < 0.01
    image = body * 1.0 + blob * 1.5
    angles = 2 * np.pi * np.arange(coils) / coils
    weights = np.stack([1 + 0.8 * (np.cos(a) * grid[1] + np.sin(a) * grid[2]) + 0.4j * grid[0] for a in angles])
    return (weights * image).astype(np.complex64)


def write_fastmri(path, kspace, xml=None, mask=None, protocol="AXT2", reference=None):
    """kspace (slices, [coils,] height, width)."""
    with h5py.File(path, "w") as f:
        f["kspace"] = kspace
        if xml is not None:
            f["ismrmrd_header"] = xml
        if mask is not None:
            f["mask"] = mask
        if reference is not None:
            f["reconstruction_rss"] = reference
        f.attrs["acquisition"] = protocol
    return path


def write_calgary(path, hybrid):
    """hybrid (coils, x, ky, kz) -> (x, ky, kz, 2*coils) float32."""
    moved = np.moveaxis(hybrid, 0, -1)
    out = np.empty((*moved.shape[:-1], 2 * moved.shape[-1]), np.float32)
    out[..., 0::2], out[..., 1::2] = moved.real, moved.imag
    with h5py.File(path, "w") as f:
        f["kspace"] = out
    return path


def write_ismrmrd(path, xml, readouts):
    """Write readouts (dicts with data (coils, samples), counters, flags ...) with the official package."""
    import ismrmrd

    dataset = ismrmrd.Dataset(str(path), "dataset", create_if_needed=True)
    dataset.write_xml_header(xml.encode())
    for r in readouts:
        data = np.ascontiguousarray(r["data"], np.complex64)
        acquisition = ismrmrd.Acquisition.from_array(data)
        acquisition.center_sample = r.get("center", data.shape[1] // 2)
        acquisition.sample_time_us = r.get("dwell", 5.0)
        acquisition.discard_pre = r.get("discard_pre", 0)
        for flag in r.get("flags", ()):
            acquisition.setFlag(getattr(ismrmrd, flag))
        for name in ("position", "read_dir", "phase_dir", "slice_dir"):
            if name in r:
                getattr(acquisition, name)[:] = r[name]
        for name, value in r.get("idx", {}).items():
            setattr(acquisition.idx, name, value)
        dataset.append_acquisition(acquisition)
    dataset.close()
    return path


@pytest.fixture(scope="session")
def make():
    """The writers above as one namespace."""
    return SimpleNamespace(
        header=header, limit=limit, fft=centred_fft, ifft=centred_ifft, phantom=phantom,
        fastmri=write_fastmri, calgary=write_calgary, ismrmrd=write_ismrmrd,
    )  # fmt: skip


@pytest.fixture
def scan(rng) -> Acquisition:
    """Acquisition with everything: maps, covariance, oblique affine, reference, provenance, (y, z) mask."""
    images = phantom((6, 12, 10), 3)
    mask = rng.random((12, 10)) < 0.5
    mask[4:8, 3:7] = True
    noise = rng.standard_normal((3, 40)) + 1j * rng.standard_normal((3, 40))
    turn, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    affine = np.eye(4)
    affine[:3, :3] = turn * [1.5, 1.0, 1.25]
    affine[:3, 3] = [-12.0, 7.0, 3.5]
    return Acquisition(
        kspace=centred_fft(images, (1, 2, 3)) * mask,
        mask=mask,
        maps=images / (np.abs(images).max() + 1),
        noise_covariance=noise @ noise.conj().T / 40,
        voxel_size=(1.5, 1.0, 1.25),
        affine=affine,
        reference=np.abs(images).sum(axis=0),
    ).evolve("undersample", {"seed": 3, "kind": "poisson", "sizes": np.array([1, 2])})


@pytest.fixture
def volume(rng) -> Reconstruction:
    """Complex reconstruction with an oblique affine and a full record."""
    turn, _ = np.linalg.qr(np.eye(3) + 0.15 * rng.standard_normal((3, 3)))
    turn = turn * np.sign(np.diag(turn))
    affine = np.eye(4)
    affine[:3, :3] = turn * [1.0, 1.2, 0.8]
    affine[:3, 3] = [-20, -30, 10]
    data = phantom((20, 24, 18), 1)[0] * np.exp(0.3j)
    return Reconstruction(
        volume=data, voxel_size=(1.0, 1.2, 0.8), affine=affine, solver="cg-sense",
        settings={"regularization": 1e-3, "seed": None}, scale=3.5, acceleration=4.03,
        history=({"iteration": 0, "residual": 1.0}, {"iteration": 1, "residual": float("nan")}),
        seconds=1.25, metrics={"psnr": {"value": 38.1, "plane": "axial"}},
    )  # fmt: skip


@pytest.fixture
def outputs(tmp_path) -> Path:
    """Folder to write into."""
    folder = tmp_path / "out"
    folder.mkdir()
    return folder
