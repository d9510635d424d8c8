"""Results of an evaluation as means, Markdown, CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mrrecon.atomic import atomic_path
from mrrecon.errors import OutputError

__all__ = ["TABLES", "markdown", "means", "write_tables"]

TABLES = (".json", ".csv", ".md")
PLANES = ("sagittal", "coronal", "axial")  # axes 0, 1, 2 of volumes in RAS order


def means(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, dict[str, dict[str, float]]]]:
    """Mean PSNR in dB: voxel size, then method, then level, then ``"all"`` planes or each of them.

    >>> rows = [{"method": "m", "voxel_size": 2.0, "level": "50", "plane": p, "psnr": 30.0 + p} for p in (0, 1)]
    >>> means(rows)
    {'2 mm': {'m': {'50': {'all': 30.5, 'sagittal': 30.0, 'coronal': 31.0}}}}
    """
    found: dict[str, dict[str, dict[str, dict[str, list[float]]]]] = {}
    for row in rows:
        of_method = found.setdefault(f"{row['voxel_size']:g} mm", {}).setdefault(row["method"], {})
        of_level = of_method.setdefault(row["level"], {"all": []})
        of_level["all"].append(row["psnr"])
        of_level.setdefault(PLANES[row["plane"]], []).append(row["psnr"])
    return {
        size: {
            method: {
                level: {plane: round(float(np.mean(values)), 3) for plane, values in planes.items()}
                for level, planes in levels.items()
            }
            for method, levels in methods.items()
        }
        for size, methods in found.items()
    }


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """Write one Markdown table per voxel size: mean PSNR in dB of each method at each level, over all planes."""
    sigmas = {row["level"]: row["sigma"] for row in rows}
    tables = []
    for size, methods in means(rows).items():
        width = max(len(name) for name in (*methods, size))
        head = [f"t = {level} (σ {sigmas[level]:.3f})" for level in sigmas]
        lines = [f"| {size:<{width}} | {' | '.join(head)} |", f"|{'-' * (width + 2)}|{'---:|' * len(head)}"]
        for name, levels in methods.items():
            cells = [f"{levels[level]['all']:.2f}".rjust(len(text)) for level, text in zip(sigmas, head, strict=True)]
            lines.append(f"| {name:<{width}} | {' | '.join(cells)} |")
        tables.append("\n".join(lines))
    return "\n\n".join(tables)


def write_tables(rows: Sequence[Mapping[str, Any]], record: Mapping[str, Any], path: str | Path) -> Path:
    """Write a ``.json`` file (the record, the means and the rows), ``.csv`` (the rows) or ``.md`` (the means).

    Parameters
    ----------
    rows
        From :func:`~mrrecon.denoising.comparison`.
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
    if suffix == ".json":
        text = json.dumps({**record, "psnr": means(rows), "rows": list(rows)}, indent=2) + "\n"
    elif suffix == ".csv":
        buffer = io.StringIO()
        writer = csv.DictWriter(buffer, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        text = buffer.getvalue()
    elif suffix == ".md":
        text = markdown(rows) + "\n"
    else:
        raise OutputError(
            f"{path}: a table is written as {', '.join(TABLES)}, not as {suffix or 'a name without one'}."
        )
    with atomic_path(path) as temporary:
        temporary.write_text(text, "utf-8")
    return path
