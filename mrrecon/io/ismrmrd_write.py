"""Writing an acquisition as an ISMRMRD HDF5 file that any ISMRMRD reader understands."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import h5py
import numpy as np

from mrrecon.acquisition import Acquisition
from mrrecon.errors import DataError, OutputError
from mrrecon.io.checks import note_slices
from mrrecon.io.hdf5 import create_hdf5
from mrrecon.io.ismrmrd_header import FLAGS, HEADER_DTYPE, acquisition_dtype
from mrrecon.operators.backend import to_numpy
from mrrecon.operators.fourier import fft

__all__ = ["write"]

_XML = """<?xml version="1.0"?>
<ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD">
  <measurementInformation>
    <patientPosition>HFS</patientPosition>
    <protocolName>{protocol}</protocolName>
  </measurementInformation>
  <acquisitionSystemInformation><receiverChannels>{coils}</receiverChannels></acquisitionSystemInformation>
  <experimentalConditions><H1resonanceFrequency_Hz>0</H1resonanceFrequency_Hz></experimentalConditions>
  <encoding>
    <encodedSpace>{space}</encodedSpace>
    <reconSpace>{space}</reconSpace>
    <encodingLimits>
      <kspace_encoding_step_1><minimum>0</minimum><maximum>{last_y}</maximum><center>{mid_y}</center></kspace_encoding_step_1>
      <kspace_encoding_step_2><minimum>0</minimum><maximum>{last_z}</maximum><center>{mid_z}</center></kspace_encoding_step_2>
    </encodingLimits>
    <trajectory>cartesian</trajectory>
  </encoding>
</ismrmrdHeader>
"""
_SPACE = (
    "<matrixSize><x>{0}</x><y>{1}</y><z>{2}</z></matrixSize>"
    "<fieldOfView_mm><x>{3:.9g}</x><y>{4:.9g}</y><z>{5:.9g}</z></fieldOfView_mm>"
)


def write(thing: Any, path: Path) -> Path:
    """Write the sampled lines of an acquisition, one readout each, as a Cartesian scan.

    Of a 3D scan, an x axis in the image domain is transformed to k-space first (the transform is unitary: nothing is
    lost, and the reader returns hybrid space); of a 2D one, whose readout is y, every slice is written as one,
    unless its mask has gaps along the readout: then it becomes a 3D scan with the same image, with a note. The
    noise covariance is stored as a noise scan whose sample covariance it is exactly. Maps, reference and provenance
    have no place in the format; use mrrecon's own HDF5 to keep them.

    Raises
    ------
    DataError
        If the mask of a 3D scan has gaps along the readout, which readouts cannot express.
    OutputError
        If `thing` is not an acquisition, or the file cannot be written.
    """
    if not isinstance(thing, Acquisition):
        raise OutputError(f"{path}: ISMRMRD files hold k-space; write a reconstruction as .nii.gz or .h5.")
    if max(thing.shape) > 65535 or thing.n_coils > 65535:
        raise DataError(f"{path}: ISMRMRD counts in 16 bits, so no axis may exceed 65535, got {thing.shape}.")
    kspace = to_numpy(thing.kspace[...]) if thing.is_lazy else to_numpy(thing.kspace)
    run = _run(thing.mask) if thing.readout == "y" else None
    if run is not None:
        kspace, lines = kspace[:, :, run].transpose(0, 2, 3, 1), np.argwhere(thing.mask.any(axis=0))
        lines = np.concatenate([np.insert(lines, 1, i, axis=1) for i in range(thing.shape[0])])  # (z, slice)
        matrix, begin = (*thing.shape[1:], 1), run.start
        voxel = (*thing.voxel_size[1:], thing.voxel_size[0])
    else:
        lines, begin, matrix, voxel = np.argwhere(_plane(thing.mask, path)), 0, thing.shape, thing.voxel_size
        if thing.domains[0] == "image":
            kspace = fft(kspace, axes=(1,))
            note_slices(thing, path)
    n_x, n_y, n_z = matrix
    noise = _noise_scan(thing.noise_covariance)
    table = np.zeros(len(lines) + len(noise), acquisition_dtype())
    heads = np.zeros(len(table), HEADER_DTYPE)
    heads["version"] = 1
    heads["scan_counter"] = np.arange(len(table))
    heads["available_channels"] = heads["active_channels"] = thing.n_coils
    heads["sample_time_us"] = 5.0
    directions, centres = _geometry(thing, run is not None)
    for name, value in zip(("read_dir", "phase_dir", "slice_dir"), directions, strict=True):
        heads[name] = value
    heads["position"] = centres[thing.shape[0] // 2]
    heads["number_of_samples"][: len(noise)] = [n.shape[1] for n in noise]
    heads["flags"][: len(noise)] = 1 << (FLAGS["noise"] - 1)
    scan = heads[len(noise) :]
    scan["number_of_samples"], scan["center_sample"] = kspace.shape[1], n_x // 2 - begin
    scan["idx"]["kspace_encode_step_1"] = lines[:, 0]
    scan["idx"]["slice" if run is not None else "kspace_encode_step_2"] = lines[:, 1]
    if run is not None:
        scan["position"] = centres[lines[:, 1]]
    scan["flags"][0] |= 1 << (FLAGS["first_in_slice"] - 1)
    scan["flags"][-1] |= (1 << (FLAGS["last_in_slice"] - 1)) | (1 << (FLAGS["last_in_measurement"] - 1))
    table["head"] = heads
    empty = np.zeros(0, np.float32)
    for row, samples in enumerate(noise):
        table["data"][row], table["traj"][row] = samples.view(np.float32).ravel(), empty
    for row, (y, z) in enumerate(lines, start=len(noise)):
        line = np.ascontiguousarray(kspace[:, :, y, z], dtype=np.complex64)
        table["data"][row], table["traj"][row] = line.view(np.float32).ravel(), empty
    fov = [n * v for n, v in zip(matrix, voxel, strict=True)]
    text = _XML.format(
        protocol=escape("; ".join(step.name for step in thing.provenance)),
        coils=thing.n_coils,
        space=_SPACE.format(*matrix, *fov),
        last_y=n_y - 1,
        mid_y=n_y // 2,
        last_z=n_z - 1,
        mid_z=n_z // 2,
    )
    with create_hdf5(path) as (file, check):
        group = file.create_group("dataset")
        group.create_dataset("xml", data=np.array([text.encode()], dtype=object), dtype=h5py.string_dtype("ascii"))
        rows = max(1, 2**26 // (8 * thing.n_coils * n_x))
        data = group.create_dataset("data", table.shape, table.dtype, chunks=(min(64, len(table)),), maxshape=(None,))
        for start in range(0, len(table), rows):
            data[start : start + rows] = table[start : start + rows]
            check()
    return Path(path)


def _plane(mask: np.ndarray, path: Path) -> np.ndarray:
    """Sampled lines ``(y, z)`` of a 3D scan."""
    if mask.ndim == 3 and not (mask == mask[:1]).all():
        raise DataError(f"{path}: ISMRMRD stores whole readouts, but this mask varies along x; use our own .h5.")
    return mask[0] if mask.ndim == 3 else mask


def _run(mask: np.ndarray) -> slice | None:
    """Samples of the readouts along y, alike in all lines of a mask ``(y, z)``; ``None`` if they are not."""
    sampled = mask[:, mask.any(axis=0)]
    at = np.flatnonzero(sampled[:, 0])
    whole = bool((sampled == sampled[:, :1]).all()) and len(at) == at[-1] + 1 - at[0]
    return slice(int(at[0]), int(at[-1]) + 1) if whole else None


def _geometry(thing: Acquisition, flat: bool) -> tuple[list[np.ndarray], np.ndarray]:
    """Directions of readout, phase and slice, and the middle of every x plane ``(x, 3)``, in LPS+."""
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ thing.affine
    order = (1, 2, 0) if flat else (0, 1, 2)
    directions = [affine[:3, i] / np.linalg.norm(affine[:3, i]) for i in order]
    n_x, n_y, n_z = thing.shape
    voxels = np.stack([np.arange(n_x), np.full(n_x, n_y // 2), np.full(n_x, n_z // 2)])
    return directions, (affine[:3, :3] @ voxels + affine[:3, 3:]).T


def _noise_scan(covariance: np.ndarray | None) -> list[np.ndarray]:
    """Noise readouts whose sample covariance is exactly `covariance`."""
    if covariance is None:
        return []
    coils = covariance.shape[0]
    samples = max(64, coils)
    waves = np.exp(2j * np.pi * np.outer(np.arange(coils), np.arange(samples)) / samples)  # rows orthogonal, power 1
    return [(np.linalg.cholesky(covariance) @ waves).astype(np.complex64)]
