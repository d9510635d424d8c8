"""The runs of a study, each with an identity that follows from everything that decides its result."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from itertools import product
from typing import Any

from mrrecon import __version__
from mrrecon.errors import DataError
from mrrecon.studies.files import StudyFile
from mrrecon.studies.method import Method
from mrrecon.studies.row import Place
from mrrecon.studies.study import Study

__all__ = ["Run", "expand", "index"]

DIGITS = 16  # of the hexadecimal digest that names a run


@dataclass(frozen=True, eq=False)
class Run:
    """One reconstruction of one undersampled scan.

    Parameters
    ----------
    id
        Digest of `given`.
    file
        What is scanned.
    acceleration
        Requested R.
    method, variant
        Label of the method, and which of its settings.
    prior
        What the prior is called; None for methods without, or with the solver's own.
    seed
        Of the mask and of the solver.
    solver
        Ready to be called.
    given
        Everything that decides the result, JSON-able.
    truth
        Digest of what decides the true image; scans that differ in mask and seed only have one truth.
    """

    id: str
    file: StudyFile
    acceleration: float
    method: str
    variant: str
    prior: str | None
    seed: int
    solver: Any
    given: dict[str, Any] = field(repr=False)
    truth: str

    def place(self) -> Place:
        """How the report finds it: its place in the grid."""
        return {
            "run": self.id,
            "file": self.file.name,
            "acceleration": self.acceleration,
            "method": self.method,
            "variant": self.variant,
            "prior": self.prior,
            "seed": self.seed,
            "truth": self.truth,
        }


def expand(study: Study) -> list[Run]:
    """All runs of a study; those on the same scan follow each other.

    Raises
    ------
    DataError
        If two methods of different labels are the same.
    """
    runs: dict[str, Run] = {}
    known = _Priors(study)
    for file, acceleration, seed, method in product(study.files, study.accelerations, study.seeds, study.solvers):
        for prior in (method.priors or study.priors or (None,)) if method.takes_prior else (None,):
            for variant in method.variants():
                run = _run(study, file, acceleration, seed, method, prior, variant, known)
                first = runs.setdefault(run.id, run)  # a grid may hold the default
                if first.method != run.method:
                    raise DataError(
                        f"{first.method} ({first.variant}) and {run.method} ({run.variant}) are the same solver with "
                        "the same settings; leave one of them out."
                    )
    return list(runs.values())


def index(study: Study, runs: list[Run]) -> dict[str, Any]:
    """What the report needs to know of a study: its settings, and the place of each run in the grid."""
    return {"name": study.name, "settings": study.to_dict(), "runs": [run.place() for run in runs]}


def _run(
    study: Study,
    file: StudyFile,
    acceleration: float,
    seed: int,
    method: Method,
    prior: Any,
    variant: str,
    known: _Priors,
) -> Run:
    chosen = {"prior": prior} if prior is not None else {}
    solver = method.solver(variant, **chosen, **({"seed": seed} if "seed" in method.fields else {}))
    settings = solver.settings() if hasattr(solver, "settings") else asdict(solver)
    used = _names(settings.pop("prior", None))
    scanned = {"files": file.identity, "metrics": study.policy().record(), "version": __version__}
    if file.is_anatomy:
        scanned["simulation"] = asdict(study.simulation)
    given = {
        **scanned,
        "maps": study.maps,
        "sampling": asdict(study.sampling),
        "acceleration": acceleration,
        "seed": seed,
        "solver": method.name,
        "settings": settings,
        "priors": [list(known[name]) for name in used],
    }
    truth = _digest({**scanned, "maps": study.maps})
    called = " + ".join(dict.fromkeys(known[name][0] for name in _names(prior))) or None
    return Run(_digest(given), file, acceleration, method.label, variant, called, seed, solver, given, truth)


class _Priors(dict[str, tuple[str, str]]):
    """Names in tables, and digests of what they compute, of priors: one that was trained again is another one.

    Priors of a study that have one name are called by their folders.
    """

    def __init__(self, study: Study) -> None:
        chosen = (*study.priors, *(prior for method in study.solvers for prior in method.priors))
        found = {name: self[name] for prior in chosen for name in _names(prior)}
        called = [own for own, _ in found.values()]
        self.update({name: (name, digest) for name, (own, digest) in found.items() if called.count(own) > 1})

    def __missing__(self, prior: str) -> tuple[str, str]:
        from mrrecon import priors
        from mrrecon.errors import PriorError

        try:
            self[prior] = priors.describe(prior)["name"], priors.identity(prior)
        except PriorError as error:
            raise DataError(str(error)) from error
        return self[prior]


def _names(prior: Any) -> list[str]:
    return [] if prior is None else [prior] if isinstance(prior, str) else list(prior)


def _digest(thing: Any) -> str:
    return hashlib.sha256(json.dumps(thing, sort_keys=True).encode()).hexdigest()[:DIGITS]
