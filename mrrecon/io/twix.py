"""Siemens twix (.dat), VB and VD/VE, Cartesian 2D and 3D, through the package twixtools (``io`` extra).

The last measurement of the file is read. Lines go to their place relative to the centre line and partition;
averages and segments are averaged; readout oversampling (twofold, always present) is removed; a noise
adjustment scan in the file, its own measurement or part of the scan, gives the noise covariance. Directions
follow the slice quaternion as twixtools interprets it; they were checked against its convention, not
against a scanner.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from mrrecon.acquisition import Acquisition, Step
from mrrecon.errors import FileFormatError, MissingDependencyError
from mrrecon.io.checks import array_bytes, require_memory
from mrrecon.io.ismrmrd_header import affine_of
from mrrecon.io.registry import Format
from mrrecon.operators.fourier import fft, ifft

__all__ = ["FORMAT", "can_read", "read"]

_ACQEND, _SYNCDATA = 1 << 0, 1 << 5


def _measurements(path: Path) -> tuple[bool, list[tuple[int, int]]]:
    """Whether the file is VD/VE, and offset and length of its measurements; empty if it is not twix."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(8 + 152 * 64)
    first, second = (int.from_bytes(head[i : i + 4], "little") for i in (0, 4))
    if first < 10000 and 0 < second <= 64 and len(head) == 8 + 152 * 64:
        spans = []
        for entry in range(second):
            at = 8 + 152 * entry
            offset = int.from_bytes(head[at + 8 : at + 16], "little")
            length = int.from_bytes(head[at + 16 : at + 24], "little")
            spans.append((offset, length or size - offset))
        if all(len(head) <= offset < size and length > 0 for offset, length in spans):
            return True, spans
        return True, []
    return False, [(0, size)] if path.suffix.lower() == ".dat" and 64 < first < size else []


def can_read(path: Path) -> bool:
    """Whether this looks like a twix file: a plausible table of measurements, or .dat with a VB header."""
    return bool(_measurements(path)[1])


def _check_blocks(path: Path) -> None:
    """Walk through the blocks of all measurements, so that twixtools never loops or runs past the end.

    Raises
    ------
    FileFormatError
        If a block runs past the end of the file or has no length.
    """
    is_vd, spans = _measurements(path)
    size = path.stat().st_size
    fixed, flags_at, samples_at, channel = (192, 40, 48, 32) if is_vd else (128, 20, 28, 128)
    with path.open("rb") as file:
        for offset, length in spans:
            file.seek(offset)
            position = offset + int.from_bytes(file.read(4), "little")
            end = offset + length
            if end > size:
                raise FileFormatError(f"{path} is truncated: a measurement ends at byte {end}, the file at {size}.")
            while position + 128 < end:
                file.seek(position)
                head = file.read(fixed)
                if len(head) < fixed:
                    raise FileFormatError(f"{path} is truncated within a readout; copy it again.")
                flags = int.from_bytes(head[flags_at : flags_at + 8], "little")
                if flags & _ACQEND:
                    break
                samples = int.from_bytes(head[samples_at : samples_at + 2], "little")
                channels = int.from_bytes(head[samples_at + 2 : samples_at + 4], "little")
                step = channels * (channel + 8 * samples) + (fixed if is_vd else 0)
                if flags & _SYNCDATA:
                    step = int.from_bytes(head[:4], "little") % 2**25
                if step < 128 or position + step > size:
                    raise FileFormatError(f"{path} is truncated or damaged at byte {position}; copy it again.")
                position += step


def read(
    path: Path,
    *,
    repetition: int = 0,
    contrast: int = 0,
    phase: int = 0,
    set: int = 0,
    remove_oversampling: bool = True,
) -> Acquisition:
    """Read the last measurement of a twix file.

    Parameters
    ----------
    path
        The ``.dat`` file.
    repetition, contrast, phase, set
        Which one to read where the scan holds several.
    remove_oversampling
        Crop the readout to half in the image domain.

    Raises
    ------
    MissingDependencyError
        If twixtools is not installed.
    FileFormatError
        If the file is damaged, has no imaging data, or lacks what an option asks for.
    """
    try:
        import twixtools
    except ImportError as error:
        raise MissingDependencyError("Reading Siemens twix needs twixtools: pip install 'mrrecon[io]'.") from error
    _check_blocks(path)
    with contextlib.redirect_stdout(io.StringIO()):  # twixtools prints
        scans = twixtools.read_twix(str(path), parse_pmu=False, parse_geometry=False, verbose=False)
    scans = [scan for scan in scans if isinstance(scan, dict)]
    if not scans:
        raise FileFormatError(f"{path} holds no measurement; the export from the scanner failed.")
    blocks = [b for b in scans[-1]["mdb"] if b.is_image_scan()]
    chosen = {"Rep": repetition, "Eco": contrast, "Phs": phase, "Set": set}
    for counter, index in chosen.items():
        there = sorted({int(getattr(b.mdh.Counter, counter)) for b in blocks})
        if blocks and index not in there:
            raise FileFormatError(f"{path} has no index {index} of the counter {counter}; it has {there[:20]}.")
        blocks = [b for b in blocks if getattr(b.mdh.Counter, counter) == index]
    if not blocks:
        raise FileFormatError(f"{path} has no imaging readouts in its last measurement; export the imaging scan.")
    shape_of = {(int(b.mdh.UsedChannels), int(b.mdh.SamplesInScan), int(b.mdh.CenterCol)) for b in blocks}
    if len(shape_of) > 1:
        raise FileFormatError(f"{path}: the readouts differ in (coils, samples, centre): {sorted(shape_of)[:4]}.")
    settings = {"format": FORMAT.name, "path": str(path), **chosen}
    noise = [b for scan in scans for b in scan["mdb"] if b.is_flag_set("NOISEADJSCAN")]
    return _sort(blocks, _noise(noise, next(iter(shape_of))[0]), _yaps(scans[-1]), remove_oversampling, settings)


def _yaps(scan: dict) -> dict:
    found = scan.get("hdr", {}).get("MeasYaps", {})
    return found if isinstance(found, dict) else {}


def _number(value: Any, default: float) -> float:
    return float(value) if isinstance(value, (int, float)) and np.isfinite(value) and value > 0 else default


def _noise(blocks: Iterable[Any], coils: int) -> np.ndarray | None:
    """Covariance of the noise adjustment readouts, taken as of the scan's own bandwidth."""
    parts = [np.asarray(b.data) for b in blocks if int(b.mdh.UsedChannels) == coils]
    if not parts or sum(p.shape[1] for p in parts) < coils:
        return None
    samples = np.concatenate(parts, axis=1).astype(np.complex128)
    covariance = samples @ samples.conj().T / samples.shape[1]
    return covariance if np.isfinite(covariance).all() and np.linalg.eigvalsh(covariance).min() > 0 else None


def _sort(
    blocks: list[Any], covariance: np.ndarray | None, yaps: dict, remove_oversampling: bool, settings: dict
) -> Acquisition:
    head = blocks[0].mdh
    coils, samples, center = int(head.UsedChannels), int(head.SamplesInScan), int(head.CenterCol)
    counters = np.array([[b.mdh.Counter.Lin, b.mdh.Counter.Par, b.mdh.Counter.Sli] for b in blocks], np.int64)
    space = yaps.get("sKSpace", {}) if isinstance(yaps.get("sKSpace"), dict) else {}
    volumetric = bool(counters[:, 1].any())
    readout = 2 * max(center, samples - center)
    y, n_y = _place(counters[:, 0], int(head.CenterLin), _number(space.get("lPhaseEncodingLines"), 0))
    z, n_z = _place(counters[:, 1], int(head.CenterPar), _number(space.get("lPartitions"), 0))
    slices, sli = np.unique(counters[:, 2], return_inverse=True)
    if volumetric and len(slices) > 1:
        raise FileFormatError(f"{settings['path']} has {len(slices)} slabs of a 3D scan; only one slab can be read.")
    leading = (n_y, n_z) if volumetric else (len(slices), n_y)
    at = np.stack([y, z] if volumetric else [sli, y], axis=1)
    require_memory(2 * array_bytes((*leading, coils, readout)), f"The k-space of {settings['path']}")
    grid = np.zeros((*leading, coils, readout), np.complex64)
    counts = np.zeros(leading, np.int32)
    start = readout // 2 - center
    for block, (a, b) in zip(blocks, at, strict=True):
        line = np.asarray(block.data)
        grid[a, b, :, start : start + samples] += line[:, ::-1] if block.is_flag_set("REFLECT") else line
        counts[a, b] += 1
    grid /= np.maximum(counts, 1)[:, :, None, None]
    kept = readout // 2 if remove_oversampling and readout % 2 == 0 else readout
    partial = samples < readout
    position = (np.arange(kept) - kept // 2) * (readout // kept) + readout // 2
    sampled = (position >= start) & (position < start + samples)
    image = ifft(grid, axes=(3,))[..., readout // 2 - kept // 2 :][..., :kept]
    lines = image if volumetric and not partial else fft(np.ascontiguousarray(image), axes=(3,)) * sampled
    mask: np.ndarray = counts > 0
    if volumetric:
        kspace = lines.transpose(2, 3, 0, 1)
        mask = sampled[:, None, None] & mask if partial else mask
    else:
        if not (mask == mask[:1]).all():
            raise FileFormatError(f"{settings['path']}: the slices are sampled differently; they cannot share a mask.")
        kspace = lines.transpose(2, 0, 3, 1)
        mask = sampled[:, None] & mask[0]
    averages = float(len(blocks) / np.count_nonzero(counts))
    voxel, affine = _geometry(blocks, sli, yaps, volumetric, (readout, n_y, n_z), kspace.shape[1:])
    return Acquisition(
        kspace=np.ascontiguousarray(kspace),
        mask=mask,
        noise_covariance=None if covariance is None else covariance / averages,
        voxel_size=voxel,
        affine=affine,
        domains=("kspace" if volumetric and partial else "image", "kspace", "kspace"),
        provenance=(Step("read", {**settings, "averages": averages, "readout_cropped_from": readout}),),
    )


def _place(index: np.ndarray, center: int, stated: float) -> tuple[np.ndarray, int]:
    """Positions with the centre at n // 2, in the stated matrix or, if the lines do not fit, a larger one."""
    span = index - center
    n = int(stated) if int(stated) > 1 else 1
    if span.min() < -(n // 2) or span.max() >= n - n // 2:
        n = 2 * max(int(-span.min()), int(span.max()) + 1)
    return span + n // 2, n


def _geometry(
    blocks: list[Any],
    sli: np.ndarray,
    yaps: dict,
    volumetric: bool,
    matrix: tuple[int, ...],
    shape: tuple[int, ...],
) -> tuple[tuple[float, float, float], np.ndarray | None]:
    """Voxel size and affine from the protocol and the slice data of the readouts."""
    from twixtools.geometry import quat_to_rotmat

    try:
        piece = yaps["sSliceArray"]["asSlice"][0]
        lengths = [_number(piece.get(n), 0.0) for n in ("dReadoutFOV", "dPhaseFOV", "dThickness")]
    except (KeyError, IndexError, TypeError, AttributeError):
        lengths = [0.0, 0.0, 0.0]
    readout, n_y, n_z = matrix
    along = (
        2 * lengths[0] / readout or 1.0,
        lengths[1] / n_y or 1.0,
        lengths[2] / (n_z if volumetric else 1) or 1.0,
    )
    first = blocks[0].mdh.SliceData
    rotation = quat_to_rotmat(*(float(v) for v in first.Quaternion))
    phase, read, normal = -rotation[:, 0], -rotation[:, 1], rotation[:, 2]
    centres = np.array([[getattr(b.mdh.SliceData.SlicePos, a) for a in ("Sag", "Cor", "Tra")] for b in blocks])
    if volumetric:
        voxel = (along[0], along[1], along[2])
        return voxel, affine_of(centres[0], (read, phase, normal), voxel, (shape[0], shape[1], shape[2]))
    per_slice = np.array([centres[np.argmax(sli == s)] for s in range(shape[0])])
    spacing = along[2]
    if len(per_slice) > 1 and np.linalg.norm(per_slice[-1] - per_slice[0]) > 1e-3:
        step = (per_slice[-1] - per_slice[0]) / (len(per_slice) - 1)
        spacing, normal = float(np.linalg.norm(step)), step / np.linalg.norm(step)
    voxel = (spacing, along[0], along[1])
    return voxel, affine_of(
        per_slice[len(per_slice) // 2], (normal, read, phase), voxel, (shape[0], shape[1], shape[2])
    )


FORMAT = Format("twix", "Siemens twix", (".dat",), can_read, read)
