"""DICOM: a reconstruction as a folder of MR Image Storage files, one slice each (needs the ``io`` extra)."""

from __future__ import annotations

import datetime
from pathlib import Path

import numpy as np

from mrrecon.atomic import atomic_folder
from mrrecon.errors import DataError, MissingDependencyError
from mrrecon.io.format import Format, Result

__all__ = ["FORMAT", "check", "write"]


def check() -> None:
    """Refuse where pydicom is not installed.

    Raises
    ------
    MissingDependencyError
        If so.
    """
    try:
        import pydicom.dataset  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError("Writing DICOM needs pydicom: pip install 'mrrecon[io]'.") from error


def write(thing: Result, path: Path) -> Path:
    """Write the magnitude of a reconstruction, 12-bit with a rescale slope, as one file per slice.

    Slices are axial, or lie across the axis with clearly thicker voxels. Rows and columns run in the usual
    directions (to the patient's left or back, and to the back or the feet); position and orientation are
    exact.

    Parameters
    ----------
    thing
        The reconstruction.
    path
        Folder that does not exist yet, or is empty.

    Raises
    ------
    MissingDependencyError
        If pydicom is not installed.
    OutputError
        If the folder holds files already or cannot be written.
    DataError
        If the volume has NaN or Inf, or its axes are not perpendicular (DICOM cannot say so).
    """
    check()
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

    magnitude, affine = _as_slices(thing)
    if not np.isfinite(magnitude).all():
        raise DataError(f"{path}: the volume has NaN or Inf, which DICOM cannot hold.")
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    directions = lps[:3, :3] / spacing
    if not np.allclose(directions.T @ directions, np.eye(3), atol=1e-3):
        raise DataError(f"{path}: the affine is sheared, which DICOM cannot express; write NIfTI instead.")
    slope = float(magnitude.max()) / 4095 or 1.0
    pixels = np.rint(magnitude / slope).astype(np.uint16)
    study, series, frame = generate_uid(), generate_uid(), generate_uid()
    now = datetime.datetime.now()
    with atomic_folder(path) as folder:
        for z in range(pixels.shape[2]):
            meta = FileMetaDataset()
            meta.MediaStorageSOPClassUID = MRImageStorage
            meta.MediaStorageSOPInstanceUID = generate_uid()
            meta.TransferSyntaxUID = ExplicitVRLittleEndian
            name = folder / f"IM{z + 1:04d}.dcm"
            image = FileDataset(str(name), {}, file_meta=meta, preamble=b"\0" * 128)
            image.SOPClassUID, image.SOPInstanceUID = MRImageStorage, meta.MediaStorageSOPInstanceUID
            image.StudyInstanceUID, image.SeriesInstanceUID, image.FrameOfReferenceUID = study, series, frame
            image.Modality, image.Manufacturer = "MR", "mrrecon"
            image.ImageType = ["DERIVED", "PRIMARY", "M"]
            image.SeriesDescription = f"mrrecon {thing.solver} R={thing.acceleration:.2f}"[:64]
            image.PatientName, image.PatientID = "Anonymous", "0"
            image.PatientBirthDate, image.PatientSex = "", "O"
            image.StudyID, image.AccessionNumber, image.ReferringPhysicianName = "1", "", ""
            image.StudyDate = image.ContentDate = now.strftime("%Y%m%d")
            image.StudyTime = image.ContentTime = now.strftime("%H%M%S")
            image.PatientPosition, image.PositionReferenceIndicator, image.Laterality = "HFS", "", ""
            image.SeriesNumber, image.InstanceNumber = 1, z + 1
            image.ScanningSequence, image.SequenceVariant, image.ScanOptions = "RM", "NONE", ""
            image.MRAcquisitionType = "3D"
            image.EchoTime = image.RepetitionTime = image.EchoTrainLength = None
            image.ImageOrientationPatient = [_ds(v) for v in (*directions[:, 0], *directions[:, 1])]
            image.ImagePositionPatient = [_ds(v) for v in (lps @ [0, 0, z, 1])[:3]]
            image.PixelSpacing = [_ds(spacing[1]), _ds(spacing[0])]
            image.SliceThickness = image.SpacingBetweenSlices = _ds(spacing[2])
            image.SliceLocation = _ds(float(lps[:3, 3] @ directions[:, 2] + z * spacing[2]))
            image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
            image.Rows, image.Columns = pixels.shape[1], pixels.shape[0]
            image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 12, 11, 0
            image.RescaleIntercept, image.RescaleSlope, image.RescaleType = "0", _ds(slope), "US"
            image.WindowCenter, image.WindowWidth = _ds(2047.5 * slope), _ds(4095 * slope)
            image.PixelData = np.ascontiguousarray(pixels[:, :, z].T).tobytes()
            image.save_as(name, enforce_file_format=True)
    return Path(path)


def _as_slices(thing: Result) -> tuple[np.ndarray, np.ndarray]:
    """Turn the magnitude so that its axes are (columns, rows, slices), with the affine that goes with it."""
    from nibabel.orientations import io_orientation

    grid = thing.grid
    thickest = int(np.argmax(grid.voxel_size))
    others = [v for i, v in enumerate(grid.voxel_size) if i != thickest]
    across = int(io_orientation(grid.affine)[thickest, 0]) if grid.voxel_size[thickest] > 1.5 * max(others) else 2
    turned, lying = grid.turned(np.abs(thing.volume), ("PIL", "LIP", "LPS")[across])
    return turned, lying.affine


def _ds(value: float) -> str:
    """Write a number as a DICOM decimal string of at most 16 characters."""
    for digits in range(12, 3, -1):
        text = f"{float(value):.{digits}g}"
        if len(text) <= 16:
            return text
    raise DataError(f"{value} does not fit a DICOM decimal string.")


FORMAT = Format("dicom", "DICOM folder", ("",), write=write, holds=("reconstruction",), folder=True, check=check)
