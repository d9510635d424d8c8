"""Montages: pictures in rows and columns on black; volumes, or methods, beside the truth with error maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mrrecon.errors import DataError, ShapeError
from mrrecon.grid import Grid
from mrrecon.operators.backend import to_numpy
from mrrecon.pictures.figures import new_figure, save_figure
from mrrecon.pictures.planes import PLANES, Planes, cut_at

__all__ = ["Style", "Tile", "draw_planes", "draw_tiles", "montage"]

BRIGHTEST = 99.8  # percentile of what is compared with that is shown white


@dataclass(frozen=True, eq=False)
class Tile:
    """A picture of a montage.

    Parameters
    ----------
    picture
        ``(right, up)``, of which the magnitude is shown; or ``(right, up, 3)``, colours from 0 to 1.
    edges
        Of its pixels, mm.
    colours
        Name of a colour map.
    """

    picture: np.ndarray
    edges: Sequence[float] | np.ndarray = (1.0, 1.0)
    colours: str = "gray"

    @property
    def extent(self) -> tuple[float, float]:
        """Width and height, mm."""
        return self.picture.shape[0] * float(self.edges[0]), self.picture.shape[1] * float(self.edges[1])


@dataclass(frozen=True)
class Style:
    """Sizes of a montage.

    Parameters
    ----------
    column, left, head
        Width of a column with what is between them, and of the margins at the left and above, inches.
    gap
        Between pictures, as a share of their size.
    font
        Size of the texts above the columns, points.
    dpi
        Pixels per inch.
    """

    column: float = 2.45
    left: float = 0.35
    head: float = 0.55
    gap: float = 0.02
    font: int = 9
    dpi: int = 120


def draw_tiles(
    rows: Sequence[tuple[str, Sequence[Tile | None]]],
    heads: Sequence[str],
    path: str | Path,
    style: Style,
    top: float,
    title: str = "",
) -> Path:
    """Draw pictures in rows and columns on black, all at one scale in mm.

    Parameters
    ----------
    rows
        Text at the left, and the pictures of the columns; None leaves a place empty.
    heads, title
        Texts above each column and above all.
    path, style
        PNG file, and sizes in it.
    top
        Magnitude that is shown white; zero is black.

    Raises
    ------
    DataError
        If there is no picture.
    OutputError
        If the file cannot be written.
    """
    shown = [[tile for tile in tiles if tile is not None] for _, tiles in rows]
    if not any(shown):
        raise DataError(f"There is nothing to draw in {path}.")
    widest = max(tile.extent[0] for tiles in shown for tile in tiles)
    heights = [style.column * max(tile.extent[1] for tile in tiles) / widest for tiles in shown]
    columns = max(len(tiles) for _, tiles in rows)
    figure = new_figure(style.left + style.column * columns, style.head + sum(heights), facecolor="black")
    width, height = figure.get_size_inches()
    grid = figure.subplots(len(rows), columns, squeeze=False, gridspec_kw={"height_ratios": heights})
    margins = {"left": style.left / width, "right": 1, "bottom": 0, "top": 1 - style.head / height}
    figure.subplots_adjust(**margins, wspace=style.gap, hspace=style.gap)
    if title:
        figure.suptitle(title, color="white", fontsize=10, y=1 - 0.08 / height, va="top")
    for axes in grid.flat:
        axes.set_axis_off()
    for (label, tiles), row in zip(rows, grid, strict=True):
        for axes, tile in zip(row, tiles, strict=False):
            if tile is not None:
                picture = np.abs(tile.picture) if np.iscomplexobj(tile.picture) else tile.picture
                axes.imshow(
                    np.moveaxis(picture, 0, 1), cmap=tile.colours, vmin=0, vmax=top, origin="lower",
                    aspect=float(tile.edges[1] / tile.edges[0]), interpolation="nearest",
                )  # fmt: skip
        row[0].text(
            -0.04, 0.5, label, transform=row[0].transAxes, color="white", rotation=90, ha="right", va="center",
            fontsize=8,
        )  # fmt: skip
    for axes, text in zip(grid[0], heads, strict=False):
        axes.set_title(text, color="white", fontsize=style.font, pad=3)
    return save_figure(figure, path, style.dpi)


def draw_planes(
    columns: Mapping[str, Planes],
    path: str | Path,
    style: Style,
    *,
    planes: Sequence[str] = tuple(PLANES),
    compared: bool = True,
    top: float | None = None,
    error_scale: float = 5.0,
    title: str = "",
) -> Path:
    """Draw slices in rows, and under each its absolute error. Axes run to the patient's right, to the front and up.

    Parameters
    ----------
    columns
        Text above, and slices, of each column.
    path, style, title
        As for :func:`draw_tiles`.
    planes
        Which of the slices, in this order.
    compared
        Whether the first column is the truth, which the others are compared with.
    top
        What is shown white, in errors too; by default the 99.8th percentile of the slices of the first column.
    error_scale
        Factor of the errors.
    """
    truth = next(iter(columns.values()))
    if top is None:
        top = _white(np.concatenate([np.asarray(truth[plane], np.float32).ravel() for plane in planes]))
    rows: list[tuple[str, list[Tile | None]]] = []
    for plane in planes:
        edges, true = truth[f"{plane}_edges"], np.asarray(truth[plane], np.float32)
        shown = [np.asarray(column[plane], np.float32) for column in columns.values()]
        rows.append((plane, [Tile(image, edges) for image in shown]))
        if compared:
            errors = [Tile(error_scale * np.abs(image - true), edges, "inferno") for image in shown[1:]]
            rows.append((f"error x{error_scale:g}", [None, *errors]))
    return draw_tiles(rows, list(columns), path, style, top, title)


def montage(
    volumes: Mapping[str, np.ndarray],
    path: str | Path,
    *,
    reference: np.ndarray | None = None,
    grid: Grid | None = None,
    labels: Mapping[str, str] | None = None,
    error_scale: float = 5.0,
    centre: tuple[int, int, int] | None = None,
    planes: Sequence[str] = tuple(PLANES),
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
    grid
        Where the voxels lie: pixels get their true aspect, and volumes are turned to the patient's axes, the right on
        the right. By default voxels of 1 mm, the axes being right, anterior, superior.
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
    if not volumes:
        raise DataError("montage needs at least one volume.")
    if not planes or not {*planes} <= {*PLANES}:
        raise DataError(f"montage: planes must be some of {', '.join(PLANES)}, got {tuple(planes)}.")
    shown = {"reference": reference, **volumes} if reference is not None else dict(volumes)
    shapes = {name: tuple(np.shape(v)) for name, v in shown.items()}
    shape = next(iter(shapes.values()))
    for name, other in shapes.items():
        if other != shape or len(other) != 3:
            raise ShapeError(
                f"montage: {name!r} has shape {other}, expected {shape if len(shape) == 3 else '(x, y, z)'}."
            )
    grid = grid or Grid(shape)
    where = np.zeros(shape, bool)
    where[centre if centre is not None else tuple(n // 2 for n in shape)] = True
    where, lying = grid.turned(where)
    position = [int(i) for i in np.argwhere(where)[0]]
    magnitudes = {name: np.abs(to_numpy(v)) for name, v in shown.items()}
    top = _white(*[magnitudes["reference"]] if reference is not None else magnitudes.values())
    columns = {
        f"{name}\n{(labels or {}).get(name, '')}".strip(): cut_at(grid.turned(magnitude)[0], lying, position)
        for name, magnitude in magnitudes.items()
    }
    flat = [plane for plane in planes if min(n for a, n in enumerate(lying.shape) if a != PLANES[plane]) > 1]
    return draw_planes(
        columns, path, Style(), planes=flat or planes, compared=reference is not None, top=top, error_scale=error_scale
    )


def _white(*images: np.ndarray) -> float:
    """What is shown white: nearly the largest of the values."""
    finite = [image[np.isfinite(image)] for image in images]
    return max((float(np.percentile(v, BRIGHTEST)) for v in finite if v.size), default=1.0) or 1.0
