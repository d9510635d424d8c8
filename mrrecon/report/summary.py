"""From the rows of a study to means over seeds, then over files; each method at its default and at its best."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mrrecon.pictures.tables import grouped
from mrrecon.studies.method import DEFAULT
from mrrecon.studies.results import Results
from mrrecon.studies.row import Place, Row, line_name

__all__ = ["BEST", "MEASURES", "Summary", "gains", "means"]

BEST = "best"
MEASURES = ("psnr", "ssim", "nrmse", "seconds", "evaluations")
Record = Mapping[str, Any]
"""Means of rows."""


@dataclass(frozen=True, eq=False)
class Summary:
    """The rows of a study's present grid, and what follows from them.

    Parameters
    ----------
    study
        Settings of the study.
    rows
        Its runs that gave a result, in the order of the grid.
    failed
        Its runs that did not.
    missing
        Number of runs that are not done.
    others
        Number of rows that belong to earlier settings of the study.
    grid
        Places of all runs in the grid, done or not.
    """

    study: dict[str, Any]
    rows: list[Row]
    failed: list[Row]
    missing: int
    others: int
    grid: list[Place]

    @classmethod
    def read(cls, results: Results) -> Summary:
        """Read the folder of a study; names and labels are those of its last start.

        Raises
        ------
        FileFormatError
            If it is not the folder of a study.
        """
        index, found = results.index(), results.rows()
        grid = index["runs"]
        done: list[Row] = [{**found[entry["run"]], **entry} for entry in grid if entry["run"] in found]
        return cls(
            study=index["settings"],
            rows=[row for row in done if "error" not in row],
            failed=[row for row in done if "error" in row],
            missing=len(grid) - len(done),
            others=len(set(found) - {entry["run"] for entry in grid}),
            grid=grid,
        )

    @property
    def lines(self) -> list[str]:
        """Methods, each with its prior, in the order of the study."""
        return list(dict.fromkeys(map(line_name, self.grid)))

    @property
    def accelerations(self) -> list[float]:
        """Requested R, rising."""
        return sorted({entry["acceleration"] for entry in self.grid})

    @property
    def files(self) -> list[str]:
        """Names of the files."""
        return list(dict.fromkeys(entry["file"] for entry in self.grid))

    def by_variant(self) -> list[dict[str, Any]]:
        """Means over seeds: one record for each file, R, method and variant, with the number of ``seeds``."""
        groups = grouped(self.rows, lambda row: (line_name(row), row["file"], row["acceleration"], row["variant"]))
        return [self._record(rows) for rows in groups.values()]

    def by_file(self) -> list[dict[str, Any]]:
        """Each method at its default and, if it has a grid, at its best: records as of :meth:`by_variant`.

        They have a ``setting``, ``"default"`` or ``"best"``. The best is the variant of the highest PSNR, chosen for
        each file, R and seed knowing the truth.
        """
        with_grid = {line_name(entry) for entry in self.grid if entry["variant"] != DEFAULT}
        records = []
        for rows in grouped(self.rows, lambda row: (line_name(row), row["file"], row["acceleration"])).values():
            default = [row for row in rows if row["variant"] == DEFAULT]
            if default:
                records.append({**self._record(default), "setting": DEFAULT})
            if line_name(rows[0]) in with_grid:
                best = [_best(of_seed) for of_seed in grouped(rows, lambda row: row["seed"]).values()]
                records.append({**self._record(best), "setting": BEST})
        return records

    def means(self) -> list[dict[str, Any]]:
        """Means over files of :meth:`by_file`, with the number of ``files`` and the ``variants``."""
        records = []
        for rows in grouped(self.by_file(), lambda r: (r["line"], r["setting"], r["acceleration"])).values():
            first = rows[0]
            records.append(
                {
                    **{name: first[name] for name in ("line", "method", "prior", "setting", "acceleration")},
                    "files": len(rows),
                    "variants": list(dict.fromkeys(r["variant"] for r in rows)),
                    "psnr_deviation": float(np.std([r["psnr"] for r in rows])),
                    **means(rows),
                }
            )
        return records

    def at_the_end(self) -> dict[str, list[float]]:
        """Methods whose best value is at an end of the grid for some file, and the R where: more may be had beyond."""
        found: dict[str, set[float]] = {}
        for rows in grouped(
            self.rows, lambda row: (line_name(row), row["file"], row["acceleration"], row["seed"])
        ).values():
            values = sorted({value for value in map(self._swept_value, rows) if value is not None})
            if len(values) > 2 and self._swept_value(_best(rows)) in (values[0], values[-1]):
                found.setdefault(line_name(rows[0]), set()).add(rows[0]["acceleration"])
        return {line: sorted(accelerations) for line, accelerations in found.items()}

    def swept(self, method: str) -> str | None:
        """The one setting that a method's grid changes, None if there are several or none."""
        names = next((list(m["grid"]) for m in self.study["solvers"] if m["label"] == method), [])
        return names[0] if len(names) == 1 else None

    def _record(self, rows: Sequence[Row]) -> dict[str, Any]:
        """Means of rows that differ in their seed only, or in the variant that was best for it."""
        first = rows[0]
        return {
            **{name: first[name] for name in ("method", "prior", "file", "acceleration")},
            "line": line_name(first),
            "achieved": float(np.mean([row["achieved"] for row in rows])),
            "variant": "; ".join(dict.fromkeys(row["variant"] for row in rows)),
            "value": self._swept_value(first),
            "seeds": len(rows),
            "runs": [row["run"] for row in rows],
            **means([{**row["metrics"], **row} for row in rows]),
        }

    def _swept_value(self, row: Row) -> float | None:
        """Value of that setting, as it was used, if it is a number."""
        name = self.swept(row["method"])
        value = None if name is None else row["used"].get(name, row["given"]["settings"].get(name))
        return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def gains(by_file: Sequence[Record], baseline: str, measure: str = "psnr") -> list[dict[str, Any]]:
    """How far methods are above the baseline at its best, mean over the files that both have.

    Parameters
    ----------
    by_file
        Records of :meth:`Summary.by_file`.
    baseline
        Label of a method. Where it has a grid, its best setting for each file and R counts.
    measure
        One of the measures.

    Returns
    -------
    records
        ``line``, ``setting``, ``acceleration``, ``files`` and ``gain``.
    """
    theirs: dict[tuple[str, float], float] = {}
    for record in sorted((r for r in by_file if r["method"] == baseline), key=lambda r: r["setting"] == BEST):
        theirs[record["file"], record["acceleration"]] = record[measure]  # the best comes last and stays
    found = []
    others = (r for r in by_file if r["method"] != baseline and (r["file"], r["acceleration"]) in theirs)
    for rows in grouped(others, lambda r: (r["line"], r["setting"], r["acceleration"])).values():
        differences = [r[measure] - theirs[r["file"], r["acceleration"]] for r in rows]
        found.append(
            {
                **{name: rows[0][name] for name in ("line", "setting", "acceleration")},
                "files": len(rows),
                "gain": float(np.mean(differences)),
            }
        )
    return found


def _best(rows: Sequence[Row]) -> Row:
    return max(rows, key=lambda row: row["metrics"]["psnr"])


def means(rows: Sequence[Record], names: Sequence[str] = MEASURES) -> dict[str, float | None]:
    """Means of values by name, None where a row has none; of seconds the median, since first runs compile."""
    found: dict[str, float | None] = {}
    for name in names:
        values: list[Any] = [row.get(name) for row in rows]
        middle = np.median if name == "seconds" else np.mean
        found[name] = None if None in values else float(middle(values))
    return found
