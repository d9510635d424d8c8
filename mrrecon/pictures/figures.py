"""Figures of matplotlib without its windows, and PNG files of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mrrecon.atomic import atomic_path

__all__ = ["new_figure", "save_figure"]


def new_figure(width: float, height: float, **options: Any) -> Any:
    """Make an empty figure of this size in inches, which no window will show."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), **options)
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Any, path: str | Path, dpi: int) -> Path:
    """Write a figure as a PNG file.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=dpi, facecolor=figure.get_facecolor())
    return Path(path)
