"""Results of an evaluation as means, Markdown, CSV and JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mrrecon.atomic import write_text
from mrrecon.errors import OutputError
from mrrecon.pictures.tables import grouped, markdown_table, write_csv

__all__ = ["TABLES", "markdown", "means", "write_tables"]

TABLES = (".json", ".csv", ".md")
PLANES = ("sagittal", "coronal", "axial")  # axes 0, 1, 2 of volumes in RAS order


def means(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, dict[str, dict[str, float]]]]:
    """Mean PSNR in dB: voxel size, then method, then level, then ``"all"`` planes or each of them.

    >>> rows = [{"method": "m", "voxel_size": 2.0, "level": "50", "plane": p, "psnr": 30.0 + p} for p in (0, 1)]
    >>> means(rows)
    {'2 mm': {'m': {'50': {'all': 30.5, 'sagittal': 30.0, 'coronal': 31.0}}}}
    """
    found: dict[str, dict[str, dict[str, dict[str, float]]]] = {}
    groups = grouped(rows, lambda row: (f"{row['voxel_size']:g} mm", row["method"], row["level"]))
    for (size, method, level), own in groups.items():
        planes = {"all": own, **grouped(own, lambda row: PLANES[row["plane"]])}
        values = {plane: round(float(np.mean([row["psnr"] for row in of])), 3) for plane, of in planes.items()}
        found.setdefault(size, {}).setdefault(method, {})[level] = values
    return found


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """Write one Markdown table per voxel size: mean PSNR in dB of each method at each level, over all planes."""
    sigmas = {row["level"]: row["sigma"] for row in rows}
    tables = []
    for size, methods in means(rows).items():
        body = [[name, *(f"{levels[level]['all']:.2f}" for level in sigmas)] for name, levels in methods.items()]
        head = [size, *(f"t = {level} (σ {sigma:.3f})" for level, sigma in sigmas.items())]
        tables.append(markdown_table(head, body))
    return "\n\n".join(tables)


def write_tables(rows: Sequence[Mapping[str, Any]], record: Mapping[str, Any], path: str | Path) -> Path:
    """Write a ``.json`` file (the record, the means and the rows), ``.csv`` (the rows) or ``.md`` (the means).

    Parameters
    ----------
    rows
        From :func:`~mrrecon.denoising.compare`.
    record
        JSON-able settings, policy, versions.
    path
        File to write; its suffix says which.

    Raises
    ------
    OutputError
        If the suffix is another one or the file cannot be written.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix == ".csv":
        return write_csv(rows, list(rows[0]), path)
    if suffix == ".json":
        text = json.dumps({**record, "psnr": means(rows), "rows": list(rows)}, indent=2) + "\n"
    elif suffix == ".md":
        text = markdown(rows) + "\n"
    else:
        raise OutputError(
            f"{path}: a table is written as {', '.join(TABLES)}, not as {suffix or 'a name without one'}."
        )
    return write_text(path, text)
