"""PNG pictures: one reconstruction in three planes."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mrrecon.io.format import Format, Result
from mrrecon.pictures.montage import montage

__all__ = ["FORMAT", "montage", "write"]


def write(thing: Result, path: Path, part: str = "magnitude") -> Path:
    """Write the middle planes of a part of a reconstruction, see :meth:`mrrecon.Reconstruction.part`.

    Complex parts are shown as magnitudes, those with a sign from black (the lowest negative) to white.

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
    return montage({title: values}, path, grid=thing.grid)


FORMAT = Format("png", "PNG picture", (".png",), write=write, holds=("reconstruction", "part", "mask"))
