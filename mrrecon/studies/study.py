"""What a study runs, as a YAML file says it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from mrrecon.errors import DataError, FileFormatError, MRReconError
from mrrecon.operators import calibration_side
from mrrecon.settings import settings_problem
from mrrecon.settings_file import read_settings
from mrrecon.studies.files import StudyFile, find_files
from mrrecon.studies.method import Method

__all__ = ["Sampling", "Simulation", "Study"]

LISTS = ("files", "accelerations", "solvers", "priors", "seeds")  # one value may stand for a list of one
PLAIN = {  # types that settings have in YAML, where they are others
    **dict.fromkeys(("files", "solvers", "priors"), list[Any]),
    "accelerations": list[float],
    "seeds": list[int],
    **dict.fromkeys(("simulation", "sampling"), dict[str, Any]),
}


@dataclass(frozen=True)
class Simulation:
    """How an anatomy becomes a scan; k-space files are taken as they are.

    Parameters
    ----------
    voxel_size
        Isotropic voxel edge that anatomies are brought to first, mm; by default their own.
    resample
        How; see :mod:`mrrecon.resolution`.
    coils, snr, noise_correlation, coil_model, seed
        See :func:`mrrecon.simulation.simulate`; the seed is that of coils, phase and noise.
    """

    voxel_size: float | None = None
    resample: Literal["kspace-crop", "interpolation"] = "kspace-crop"
    coils: int = 8
    snr: float | None = 40.0
    noise_correlation: float = 0.0
    coil_model: Literal["loops", "birdcage"] = "loops"
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("voxel_size", "snr"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise DataError(f"{name} of the simulation must be a positive number, got {value}.")
        if self.coils < 1 or self.seed < 0 or not 0 <= self.noise_correlation < 1:
            raise DataError(
                "The simulation needs at least one coil, a seed from 0 and a noise_correlation in [0, 1), got "
                f"{self.coils}, {self.seed} and {self.noise_correlation:g}."
            )


@dataclass(frozen=True)
class Sampling:
    """How scans are undersampled; see :func:`mrrecon.operators.make_mask`.

    Parameters
    ----------
    mask
        Kind of mask; of a 2D scan, whole lines along the readout. Equispaced ones are for 2D scans only.
    calibration
        Side of the fully sampled centre, at most; maps are estimated from it.
    calibration_share
        Share of the samples that the centre may take at most: at high R and small matrices it is smaller than
        `calibration`.
    elliptical
        Leave the corners of k-space out.
    """

    mask: Literal["poisson", "gaussian", "uniform", "equispaced"] = "poisson"
    calibration: int = 24
    calibration_share: float = 0.25
    elliptical: bool = False

    def __post_init__(self) -> None:
        if self.calibration < 0 or not 0 < self.calibration_share <= 1:
            raise DataError(
                "calibration must be a whole number from 0 and calibration_share in (0, 1], got "
                f"{self.calibration} and {self.calibration_share:g}."
            )

    def side(self, shape: tuple[int, int], acceleration: float) -> int:
        """Side of the fully sampled centre of a mask ``(y, z)``.

        >>> Sampling().side((96, 112), 4), Sampling().side((96, 112), 48)
        (24, 7)
        """
        return calibration_side(shape, acceleration, most=self.calibration, share=self.calibration_share)


@dataclass(frozen=True)
class Study:
    """A grid of runs: files x accelerations x solvers x priors x seeds.

    Parameters
    ----------
    name
        What the study is called.
    files
        Anatomies to simulate scans of, and k-space files; with paths already found.
    solvers
        What is compared.
    accelerations
        Requested R.
    priors
        Names or folders of priors, for the solvers that take one (or three of them, one for each axis); empty: the
        solver's own.
    seeds
        Of the masks, and of what is random in solvers.
    maps
        ``"estimated"`` by ESPIRiT from the undersampled data, ``"joint"``: then jointly with an image, where chi^2 asks
        for it, or ``"given"``: those of the simulation or the file.
    simulation, sampling
        How scans are made.
    metrics
        Settings of :class:`mrrecon.metrics.MetricPolicy`.
    baseline
        Label of the method that the report compares the others with; empty: none.
    device
        Where to compute: ``"auto"`` (a GPU if there is one), ``"cpu"`` or ``"cuda"``.

    Raises
    ------
    DataError
        If a setting is out of range, or names what there is not.
    """

    name: str
    files: tuple[StudyFile, ...]
    solvers: tuple[Method, ...]
    accelerations: tuple[float, ...] = (4.0, 8.0, 12.0, 16.0, 24.0, 36.0, 48.0)
    priors: tuple[Any, ...] = ()
    seeds: tuple[int, ...] = (0,)
    maps: Literal["estimated", "given", "joint"] = "estimated"
    simulation: Simulation = Simulation()
    sampling: Sampling = Sampling()
    metrics: dict[str, Any] = field(default_factory=dict)
    baseline: str = ""
    device: Literal["auto", "cpu", "cuda"] = "auto"

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any], folder: str | Path = ".") -> Study:
        """Build from plain settings, as a YAML file has them; paths are relative to `folder` or to $MRRECON_DATA.

        Raises
        ------
        DataError, FileFormatError
            If a setting is missing, unknown, of the wrong type or out of range; if a file or prior is not there.
        """
        settings = _listed(settings)
        _refuse(cls, settings, PLAIN)
        return cls(
            **{
                **settings,
                "files": tuple(find_files(settings["files"], Path(folder))),
                "solvers": tuple(_method(given, Path(folder)) for given in settings["solvers"]),
                "accelerations": tuple(map(float, settings.get("accelerations", cls.accelerations))),
                "priors": tuple(_prior(given, Path(folder)) for given in settings.get("priors", [])),
                "seeds": tuple(settings.get("seeds", cls.seeds)),
                "simulation": _made(Simulation, settings.get("simulation", {})),
                "sampling": _made(Sampling, settings.get("sampling", {})),
            }
        )

    @classmethod
    def from_yaml(cls, path: str | Path) -> Study:
        """Read a YAML file of settings; its paths are relative to it or to $MRRECON_DATA.

        Raises
        ------
        FileFormatError
            If the file is missing, not YAML, or its settings are not usable.
        """
        settings = read_settings(path, "name, files and solvers")
        try:
            return cls.from_settings(settings, Path(path).absolute().parent)
        except MRReconError as error:
            raise FileFormatError(f"{path}: {error}") from error

    def __post_init__(self) -> None:
        if not self.name or any(mark in self.name for mark in "/\\"):
            raise DataError(f"The setting name must be text without slashes, got {self.name!r}.")
        for name in ("files", "solvers", "accelerations", "seeds"):
            if not getattr(self, name):
                raise DataError(f"The setting {name} is empty: there is nothing to run.")
        labels = [method.label for method in self.solvers]
        for what, called, names in (("files", "name", [f.name for f in self.files]), ("solvers", "label", labels)):
            twice = next((name for name in names if names.count(name) > 1), None)
            if twice is not None:
                raise DataError(f"Two of the {what} are called {twice!r}; give one of them another {called}.")
        if not all(math.isfinite(r) and r >= 1 for r in self.accelerations):
            raise DataError(f"accelerations must be numbers of at least 1, got {list(self.accelerations)}.")
        if min(self.seeds) < 0:
            raise DataError(f"seeds must be whole numbers from 0, got {list(self.seeds)}.")
        if self.baseline and self.baseline not in labels:
            raise DataError(f"The baseline {self.baseline!r} is none of the solvers: {', '.join(labels)}.")
        self.policy()

    def policy(self) -> Any:
        """How the results are measured: a :class:`mrrecon.metrics.MetricPolicy`."""
        from mrrecon.metrics import MetricPolicy

        return _made(MetricPolicy, self.metrics)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {**asdict(self), "files": [file.to_dict() for file in self.files]}


def _listed(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {k: [v] if k in LISTS and not isinstance(v, list) else v for k, v in settings.items()}


def _refuse(made_by: type, settings: Mapping[str, Any], plain: Mapping[str, Any] | None = None) -> None:
    problem = settings_problem(made_by, settings, plain)
    if problem:
        raise DataError(f"{problem}.")


def _made(made_by: type, settings: Mapping[str, Any]) -> Any:
    _refuse(made_by, settings)
    return made_by(**settings)


def _method(given: Any, folder: Path) -> Method:
    settings = {"name": given} if isinstance(given, str) else given
    if not isinstance(settings, dict):
        raise DataError(f"Each of the solvers must be a name, or an object with a name, got {given!r}.")
    settings = _listed(settings)
    _refuse(Method, settings)
    return Method(**{**settings, "priors": [_prior(one, folder) for one in settings.get("priors", [])]})


def _prior(given: Any, folder: Path) -> Any:
    """A prior, or three of them, that are there; folders relative to the study's."""
    from mrrecon import priors
    from mrrecon.errors import PriorError

    if isinstance(given, Sequence) and not isinstance(given, str):
        if len(given) != 3:
            raise DataError(f"One of the priors must be a name or three of them, one for each axis, got {given!r}.")
        return [_prior(one, folder) for one in given]
    if not isinstance(given, str):
        raise DataError(f"A prior must be the name or the folder of one, got {given!r}.")
    found = given
    if given not in priors.names() and (folder / given).is_dir():
        found = str(folder / given)
    try:
        priors.describe(found)
    except PriorError as error:
        raise DataError(str(error)) from error
    return found
