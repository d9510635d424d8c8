"""PNG pictures: one reconstruction in three planes."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mrrecon.grid import Grid
from mrrecon.io.registry import Format
from mrrecon.pictures.montage import montage
from mrrecon.reconstruction import Reconstruction

__all__ = ["FORMAT", "montage", "write"]


def write(thing: Reconstruction, path: Path, part: str = "magnitude") -> Path:
    """Write the middle axial, coronal and sagittal plane of a reconstruction, or of another part of it.

    Parameters
    ----------
    thing
        The reconstruction.
    path
        File to write.
    part
        See :meth:`Reconstruction.part`; complex ones as magnitudes, those with a sign from black (the lowest negative)
        to white.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    values = thing.part(part)
    title = f"{thing.solver}, R = {thing.acceleration:.1f}"
    if part != "magnitude":
        title = f"{part.replace('_', ' ')}\n{title}"
    if not np.iscomplexobj(values) and values.min() < 0:
        values = values + (np.float32(np.pi) if part == "phase" else np.abs(values).max())
    return montage({title: values}, path, grid=Grid(thing.volume.shape, thing.voxel_size, thing.affine))


FORMAT = Format("png", "PNG picture", (".png",), write=write, holds=("reconstruction", "part", "mask"))
