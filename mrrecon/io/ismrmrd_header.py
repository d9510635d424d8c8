"""The ISMRMRD XML header (also inside fastMRI files) and the table of readout headers, as plain values."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mrrecon.errors import FileFormatError

__all__ = ["FLAGS", "HEADER_DTYPE", "Header", "Limit", "acquisition_dtype", "affine_of", "flagged", "parse_header"]

COUNTERS_DTYPE = np.dtype(
    [(n, "<u2") for n in ("kspace_encode_step_1", "kspace_encode_step_2", "average", "slice", "contrast", "phase")]
    + [(n, "<u2") for n in ("repetition", "set", "segment")]
    + [("user", "<u2", (8,))]
)
HEADER_DTYPE = np.dtype(
    [("version", "<u2"), ("flags", "<u8")]
    + [(n, "<u4") for n in ("measurement_uid", "scan_counter", "acquisition_time_stamp")]
    + [("physiology_time_stamp", "<u4", (3,))]
    + [(n, "<u2") for n in ("number_of_samples", "available_channels", "active_channels")]
    + [("channel_mask", "<u8", (16,))]
    + [(n, "<u2") for n in ("discard_pre", "discard_post", "center_sample", "encoding_space_ref")]
    + [("trajectory_dimensions", "<u2"), ("sample_time_us", "<f4")]
    + [(n, "<f4", (3,)) for n in ("position", "read_dir", "phase_dir", "slice_dir", "patient_table_position")]
    + [("idx", COUNTERS_DTYPE), ("user_int", "<i4", (8,)), ("user_float", "<f4", (8,))]
)

# names of the standard's flags -> bit (1-based, as in the standard)
FLAGS = {
    "first_in_slice": 7,
    "last_in_slice": 8,
    "noise": 19,
    "calibration": 20,
    "calibration_and_imaging": 21,
    "reverse": 22,
    "navigation": 23,
    "phase_correction": 24,
    "last_in_measurement": 25,
    "high_priority_feedback": 26,
    "dummy": 27,
    "real_time_feedback": 28,
    "surface_coil_correction": 29,
    "phase_stabilization_reference": 30,
    "phase_stabilization": 31,
    "multiband_reference": 64,  # not in the standard (its last flag for users): reference lines of slice acceleration
}
NO_IMAGE = (  # flags of readouts that hold no image data
    "noise navigation phase_correction high_priority_feedback dummy real_time_feedback surface_coil_correction "
    "phase_stabilization_reference phase_stabilization multiband_reference"
).split()


def flagged(heads: np.ndarray, *names: str) -> np.ndarray:
    """For each readout whether it has one of these flags."""
    bits = sum(1 << (FLAGS[name] - 1) for name in names)
    return (heads["flags"] & np.uint64(bits)) != 0


def acquisition_dtype() -> np.dtype:
    """Compound type of one readout in an ISMRMRD file."""
    import h5py

    floats = h5py.vlen_dtype(np.dtype("<f4"))
    return np.dtype([("head", HEADER_DTYPE), ("traj", floats), ("data", floats)])


@dataclass(frozen=True)
class Limit:
    """Smallest, largest and central index of one encoding counter."""

    minimum: int
    maximum: int
    center: int


@dataclass(frozen=True)
class Header:
    """What the toolkit uses of an ISMRMRD header; lengths in mm, axes (x = readout, y, z).

    Parameters
    ----------
    encoded_matrix, encoded_fov, recon_matrix, recon_fov
        Sizes and fields of view; voxels of 1 mm where `fov_known` is False.
    limits
        By the names of the standard, ``kspace_encoding_step_1`` and ``_2``.
    trajectory
        ``"cartesian"`` or ``"epi"``, else the readouts cannot be sorted.
    relative_noise_bandwidth
        Of the receiver.
    protocol
        Name of the protocol.
    vendor
        System vendor as the file spells it. With Siemens data the axes of the image run against ``read_dir`` and
        ``phase_dir``.
    calibration_mode
        Of parallel imaging, in the standard's words: ``"separate"``, ``"embedded"`` ..., or nothing.
    fov_known
        Whether the file states the field of view.
    resampling
        For readouts sampled on the gradient's ramps: matrix ``(samples, samples)`` that takes the samples of a
        readout (in the order of a forward one) to equal steps of k-space; the sorter applies it to every line.
    """

    encoded_matrix: tuple[int, int, int]
    encoded_fov: tuple[float, float, float]
    recon_matrix: tuple[int, int, int]
    recon_fov: tuple[float, float, float]
    limits: dict[str, Limit]
    trajectory: str
    relative_noise_bandwidth: float
    protocol: str
    vendor: str = ""
    calibration_mode: str = ""
    fov_known: bool = True
    resampling: np.ndarray | None = None

    @property
    def oversampled_fov(self) -> float:
        """Ratio of the encoded to the reconstructed field of view along the readout."""
        return self.encoded_fov[0] / self.recon_fov[0]


def parse_header(text: str, path: Path) -> Header:
    """Parse the XML header.

    Raises
    ------
    FileFormatError
        If it is not XML, lacks the encoded matrix or field of view, or holds absurd numbers.
    """
    try:
        if "<!ENTITY" in text:  # never in an ISMRMRD header; a way to make XML parsers allocate without bound
            raise ValueError("it declares XML entities")
        root = ElementTree.fromstring(text)
        for element in root.iter():
            element.tag = element.tag.rpartition("}")[2]
        encoding = root.find("encoding")
        if root.tag != "ismrmrdHeader" or encoding is None:
            raise ValueError("there is no <encoding> in an <ismrmrdHeader>")
        encoded_matrix, encoded_fov = _space(encoding, "encodedSpace")
        recon_matrix, recon_fov = encoded_matrix, encoded_fov
        if encoding.find("reconSpace/matrixSize") is not None:
            recon_matrix, recon_fov = _space(encoding, "reconSpace")
        known = min(encoded_fov) > 0
        ex, ey, ez = (f or float(n) for f, n in zip(encoded_fov, encoded_matrix, strict=True))  # voxels of 1 mm
        encoded_fov = ex, ey, ez
        voxels = zip(recon_fov, encoded_fov, encoded_matrix, recon_matrix, strict=True)
        rx, ry, rz = (f if f and known else e / n * m for f, e, n, m in voxels)
        recon_fov = rx, ry, rz
        limits = {}
        for name in ("kspace_encoding_step_1", "kspace_encoding_step_2", "slice"):
            found = encoding.find(f"encodingLimits/{name}")
            if found is not None:
                limits[name] = Limit(*(int(_text(found, part)) for part in ("minimum", "maximum", "center")))
        bandwidth = root.findtext("acquisitionSystemInformation/relativeReceiverNoiseBandwidth")
        return Header(
            encoded_matrix,
            encoded_fov,
            recon_matrix,
            recon_fov,
            limits,
            (encoding.findtext("trajectory") or "cartesian").strip().lower(),
            float(bandwidth) if bandwidth and 0 < float(bandwidth) <= 2 else 1.0,
            (root.findtext("measurementInformation/protocolName") or "").strip(),
            (root.findtext("acquisitionSystemInformation/systemVendor") or "").strip(),
            (encoding.findtext("parallelImaging/calibrationMode") or "").strip().lower(),
            known,
        )
    except (ValueError, ElementTree.ParseError, AttributeError) as error:
        raise FileFormatError(f"{path} has no usable ISMRMRD header: {error}; the file is damaged.") from error


def _space(encoding: ElementTree.Element, name: str) -> tuple[tuple[int, int, int], tuple[float, float, float]]:
    """Matrix size and field of view (mm; 0 where it is not stated) of the encoded or the reconstructed space."""
    x, y, z = (int(_text(encoding, f"{name}/matrixSize/{a}")) for a in "xyz")
    fx, fy, fz = (float(encoding.findtext(f"{name}/fieldOfView_mm/{a}") or 0) for a in "xyz")
    if not all(1 <= n <= 65536 for n in (x, y, z)):
        raise ValueError(f"{name} has the matrix size {(x, y, z)}")
    if not all(math.isfinite(f) and 0 <= f < 1e5 for f in (fx, fy, fz)):
        raise ValueError(f"{name} has the field of view {(fx, fy, fz)} mm")
    return (x, y, z), (fx, fy, fz)


def _text(element: ElementTree.Element, name: str) -> str:
    found = element.findtext(name)
    if found is None:
        raise ValueError(f"<{name}> is missing")
    return found


def affine_of(
    position: np.ndarray,
    directions: tuple[np.ndarray, np.ndarray, np.ndarray],
    voxel_size: tuple[float, float, float],
    shape: tuple[int, int, int],
) -> np.ndarray | None:
    """Affine (voxel to RAS+, mm) of a volume with voxel n // 2 at `position`; ``None`` without directions.

    Parameters
    ----------
    position, directions
        In the DICOM patient system (LPS+), as ISMRMRD and Siemens store them; directions of x, y, z.
    voxel_size, shape
        Along (x, y, z).
    """
    columns = np.array(directions, dtype=np.float64).T
    lengths = np.linalg.norm(columns, axis=0)
    if not np.isfinite(columns).all() or not np.isfinite(position).all() or (abs(lengths - 1) > 1e-2).any():
        return None
    columns /= lengths
    if abs(np.linalg.det(columns)) < 1e-2:
        return None
    affine = np.eye(4)
    affine[:3, :3] = columns * np.asarray(voxel_size)
    affine[:3, 3] = np.asarray(position, np.float64) - affine[:3, :3] @ (np.asarray(shape) // 2)
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
