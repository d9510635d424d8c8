"""PNG pictures: a montage of volumes with error maps, and one reconstruction in three planes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from mrrecon.atomic import atomic_path
from mrrecon.errors import DataError, ShapeError
from mrrecon.io.format import Format, Result
from mrrecon.operators.backend import to_numpy

__all__ = ["FORMAT", "montage", "write"]

# name, axis that is fixed, axis shown to the right, axis shown upwards; axes in RAS order
_PLANES = (("axial", 2, 0, 1), ("coronal", 1, 0, 2), ("sagittal", 0, 1, 2))


def _to_ras(
    volume: np.ndarray, affine: np.ndarray, voxel_size: tuple[float, float, float]
) -> tuple[np.ndarray, tuple[float, float, float]]:
    """Turn a volume by flips and swaps so that its axes run to the right, anterior and superior."""
    import nibabel

    orientation = nibabel.orientations.io_orientation(affine)
    turned = nibabel.orientations.apply_orientation(volume, orientation)
    order = np.argsort(orientation[:, 0])
    x, y, z = (float(voxel_size[i]) for i in order)
    return turned, (x, y, z)


def montage(
    volumes: Mapping[str, np.ndarray],
    path: str | Path,
    *,
    reference: np.ndarray | None = None,
    voxel_size: tuple[float, float, float] = (1.0, 1.0, 1.0),
    affine: np.ndarray | None = None,
    labels: Mapping[str, str] | None = None,
    error_scale: float = 5.0,
    centre: tuple[int, int, int] | None = None,
    planes: Sequence[str] = ("axial", "coronal", "sagittal"),
) -> Path:
    """Write a PNG with one column per volume, one row per plane and, with a reference, one row per error map.

    Parameters
    ----------
    volumes
        Name to volume ``(x, y, z)``, real or complex (magnitudes are shown), all of one shape.
    path
        PNG file.
    reference
        Volume to compare with; shown first, and ``error_scale * |volume - reference|`` under each plane.
        Magnitudes are compared, without rescaling.
    voxel_size, affine
        Geometry: pixels get their true aspect; with an affine the volumes are turned to the patient's axes.
        Without one, the axes are taken as right, anterior, superior. The patient's right is on the right.
    labels
        Text under a name, for example ``"38.2 dB, SSIM 0.96"``.
    error_scale
        Factor of the error maps.
    centre
        Voxel whose planes are shown (in the volume's own axes); the middle by default.
    planes
        Which planes, in this order; those that a volume of a single slice reduces to a line are left out.

    Raises
    ------
    ShapeError, DataError
        If the volumes differ in shape, are not 3D, or there is none.
    OutputError
        If the file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    if not volumes:
        raise DataError("montage needs at least one volume.")
    known = {plane[0]: plane for plane in _PLANES}
    if not planes or not {*planes} <= {*known}:
        raise DataError(f"montage: planes must be some of {', '.join(known)}, got {tuple(planes)}.")
    chosen = [known[name] for name in planes]
    shown = {"reference": reference, **volumes} if reference is not None else dict(volumes)
    shapes = {name: tuple(np.shape(v)) for name, v in shown.items()}
    shape = next(iter(shapes.values()))
    for name, other in shapes.items():
        if other != shape or len(other) != 3:
            raise ShapeError(
                f"montage: {name!r} has shape {other}, expected {shape if len(shape) == 3 else '(x, y, z)'}."
            )
    where = np.zeros(shape, bool)
    where[centre if centre is not None else tuple(n // 2 for n in shape)] = True
    geometry = np.eye(4) if affine is None else np.asarray(affine)
    where, voxel = _to_ras(where, geometry, voxel_size)
    mid = [int(i) for i in np.argwhere(where)[0]]
    turned = {name: _to_ras(np.abs(to_numpy(v)), geometry, voxel_size)[0] for name, v in shown.items()}
    truth = turned.get("reference") if reference is not None else None
    finite = [v[np.isfinite(v)] for v in ([truth] if truth is not None else turned.values())]
    top = max((float(np.percentile(v, 99.8)) for v in finite if v.size), default=1.0) or 1.0

    # Planes that a single slice reduces to a line are left out.
    chosen = [p for p in chosen if min(where.shape[p[2]], where.shape[p[3]]) > 1] or chosen
    extent = [n * v for n, v in zip(where.shape, voxel, strict=True)]
    rows = [(plane, error) for plane in chosen for error in ((False, True) if truth is not None else (False,))]
    width = max(extent[right] for _, _, right, _ in chosen)
    heights = [extent[up] for (_, _, _, up), _ in rows]
    inches = 2.4 / width  # per mm: each column 2.4 inches wide
    margin_left, margin_top = 0.35, 0.55
    figure = Figure(
        figsize=(margin_left + 2.45 * len(turned), margin_top + sum(h * inches + 0.05 for h in heights)),
        facecolor="black",
    )
    FigureCanvasAgg(figure)
    total_w, total_h = figure.get_size_inches()
    y = total_h - margin_top
    for row, ((plane, fixed, right, up), is_error) in enumerate(rows):
        height = heights[row] * inches
        y -= height + 0.05
        text = f"error x{error_scale:g}" if is_error else plane
        figure.text(
            0.5 * margin_left / total_w, (y + height / 2) / total_h, text,
            color="white", rotation=90, ha="center", va="center", fontsize=8,
        )  # fmt: skip
        for column, (name, volume) in enumerate(turned.items()):
            if is_error and name == "reference":
                continue
            left = margin_left + 2.45 * column + (2.4 - extent[right] * inches) / 2
            axes = figure.add_axes((left / total_w, y / total_h, extent[right] * inches / total_w, height / total_h))
            axes.set_axis_off()
            picture = volume
            if is_error:
                assert truth is not None
                picture = error_scale * np.abs(volume - truth)
            flat = np.take(picture, mid[fixed], axis=fixed)
            flat = flat if right < up else flat.T
            axes.imshow(
                flat.T, cmap="inferno" if is_error else "gray", vmin=0, vmax=top, origin="lower",
                aspect="auto", interpolation="nearest",
            )  # fmt: skip
            if row == 0:
                label = (labels or {}).get(name, "")
                figure.text(
                    (margin_left + 2.45 * column + 1.2) / total_w, 1 - 0.5 * margin_top / total_h,
                    f"{name}\n{label}".strip(), color="white", ha="center", va="center", fontsize=9,
                )  # fmt: skip
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120, facecolor="black")
    return Path(path)


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
    return montage({title: values}, path, voxel_size=thing.voxel_size, affine=thing.affine)


FORMAT = Format("png", "PNG picture", (".png",), write=write, holds=("reconstruction", "part", "mask"))
