"""A method that a study compares: a solver with its settings, and a grid of other values for them."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import product
from typing import Any

from mrrecon.errors import DataError
from mrrecon.settings import settings_problem
from mrrecon.studies.peers import find_solver

__all__ = ["DEFAULT", "Method"]

DEFAULT = "default"  # name of a method's settings before its grid changes them


@dataclass(frozen=True)
class Method:
    """A solver, its settings, and values of settings to try besides.

    Parameters
    ----------
    name
        Of a solver, or of a peer: ``"bart-l1-wavelet"``.
    label
        What it is called in tables; by default its name.
    settings
        Settings that differ from the solver's defaults; together with these they are its default in the report.
    grid
        Values to try for some of the settings; all combinations are run, and the default.
    priors
        Names or folders of priors (or three of them, one for each axis), instead of those of the study.

    Raises
    ------
    DataError
        If there is no such solver, or it refuses a setting.
    """

    name: str
    label: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    grid: dict[str, list[Any]] = field(default_factory=dict)
    priors: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        if not self.label:
            object.__setattr__(self, "label", self.name)
        for name, source in (("seed", "seeds of the study"), ("prior", "priors of the study or of this solver")):
            if name in self.settings or name in self.grid:
                raise DataError(f"{self.label} must not have {name} among its settings or grid; write {source}.")
        if self.priors and not self.takes_prior:
            raise DataError(f"The solver {self.name} has no prior; leave out the priors of {self.label}.")
        for name, values in self.grid.items():
            if not isinstance(values, (list, tuple)) or not values:
                raise DataError(f"The grid of {self.label} must give a list of values for {name}, got {values!r}.")
        for variant in self.variants():
            self.solver(variant)

    @property
    def takes_prior(self) -> bool:
        """Whether the solver asks a prior."""
        return "prior" in self.fields

    @property
    def fields(self) -> tuple[str, ...]:
        """Settings that the solver has."""
        return tuple(getattr(find_solver(self.name), "__dataclass_fields__", ()))

    def variants(self) -> dict[str, dict[str, Any]]:
        """Name of a choice of settings to how it changes `settings`, the unchanged ones first.

        >>> Method("cg-sense", grid={"max_iter": [10, 20]}).variants()
        {'default': {}, 'max_iter=10': {'max_iter': 10}, 'max_iter=20': {'max_iter': 20}}
        """
        found: dict[str, dict[str, Any]] = {DEFAULT: {}}
        if self.grid:
            for values in product(*self.grid.values()):
                changes = dict(zip(self.grid, values, strict=True))
                found[", ".join(f"{name}={_value_text(value)}" for name, value in changes.items())] = changes
        return found

    def solver(self, variant: str, **more: Any) -> Any:
        """Make the solver with the settings of a variant and `more`.

        Raises
        ------
        DataError
            If it refuses them.
        """
        made_by = find_solver(self.name)
        settings = {**self.settings, **self.variants()[variant], **more}
        problem = settings_problem(made_by, settings)
        if problem:
            raise DataError(f"The solver {self.name}: {problem}.")
        try:
            return made_by(**settings)
        except ValueError as error:
            raise DataError(f"The solver {self.name}: {error}") from error


def _value_text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
