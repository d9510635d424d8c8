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
        "priors": [[known.name(name), known.identity(name)] for name in used],
    }
    truth = _digest({**scanned, "maps": study.maps})
    called = " + ".join(dict.fromkeys(map(known.name, _names(prior)))) or None
    return Run(_digest(given), file, acceleration, method.label, variant, called, seed, solver, given, truth)


class _Priors:
    """What the priors of a study are called in tables, and what tells them from others."""

    def __init__(self, study: Study) -> None:
        self._identities: dict[str, str] = {}
        self._called: dict[str, str] = {}
        for prior in (*study.priors, *(prior for method in study.solvers for prior in method.priors)):
            for name in _names(prior):
                self.name(name)
        called = list(self._called.values())
        self._called = {name: own if called.count(own) == 1 else name for name, own in self._called.items()}

    def name(self, prior: str) -> str:
        """Its name, or its folder if another prior has the same name."""
        self._describe(prior)
        return self._called[prior]

    def identity(self, prior: str) -> str:
        """Digest of what it computes: a prior trained again is another one."""
        self._describe(prior)
        return self._identities[prior]

    def _describe(self, prior: str) -> None:
        from mrrecon import priors
        from mrrecon.errors import PriorError

        if prior in self._called:
            return
        try:
            self._called[prior], self._identities[prior] = priors.describe(prior)["name"], priors.identity(prior)
        except PriorError as error:
            raise DataError(str(error)) from error


def _names(prior: Any) -> list[str]:
    return [] if prior is None else [prior] if isinstance(prior, str) else list(prior)


def _digest(thing: Any) -> str:
    return hashlib.sha256(json.dumps(thing, sort_keys=True).encode()).hexdigest()[:DIGITS]
