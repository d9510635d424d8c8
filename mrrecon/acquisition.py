"""The measured data of one scan, with everything a solver needs to know about them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from mrrecon import acquisition_checks as checks
from mrrecon import operators
from mrrecon.acquisition_checks import Domain
from mrrecon.errors import MaskError
from mrrecon.grid import Grid
from mrrecon.lazy import ChosenCoils, is_lazy
from mrrecon.operators.backend import get_array_module, to_device
from mrrecon.operators.centre import KspaceCentre, kspace_centre
from mrrecon.preparation import calibrated_maps, fit_mask, fitted_maps, measured_coverage, noise_to_whiten
from mrrecon.recentring import roll_kspace, roll_to_middle, shift_phase, trusted_centre

__all__ = ["Acquisition", "Domain", "Step"]

Axis = Literal["x", "y", "z"]


@dataclass(frozen=True)
class Step:
    """One processing step of an acquisition: its name and its settings (JSON-able)."""

    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Acquisition:
    """K-space of one 3D scan with its mask, maps, noise and geometry. Immutable, validated on construction.

    Parameters
    ----------
    kspace
        Samples ``(coils, x, y, z)``, ``complex64``; NumPy, CuPy or a :class:`~mrrecon.lazy.LazyArray`. Zero where
        unsampled. Centred: zero frequency at index ``n // 2`` of every axis in the k-space domain (see
        :meth:`recentre`).
    mask
        Sampling pattern, bool, ``(y, z)`` when the readout x is fully sampled, else ``(x, y, z)``.
    maps
        Coil sensitivity maps ``(coils, x, y, z)`` or ``(sets, coils, x, y, z)``, ``complex64``, in the image domain.
    noise_covariance
        Noise covariance between coils ``(coils, coils)``, of one complex k-space sample.
    voxel_size, affine
        Voxel edges (x, y, z), mm, and 4x4 matrix from voxel indices to scanner coordinates (RAS+, mm); each is made
        from the other when not given, see :class:`~mrrecon.grid.Grid`.
    domains
        Which domain each of the axes (x, y, z) is in. ``("image", "kspace", "kspace")`` is hybrid space: the readout
        has been transformed already (also a 2D multi-slice scan, x being the slice).
    readout
        Axis that was read out: ``"x"``, or ``"y"`` of a 2D multi-slice scan, whose x is the slice. What a scanner
        samples or leaves out are whole lines along it.
    reference
        Known true volume ``(x, y, z)`` of a simulated scan, or ``None``.
    provenance
        The steps that led here, oldest first.

    Raises
    ------
    ShapeError, DataError, MaskError
        When an operand does not fit, naming it, what was expected, what was got, and the fix.
    """

    kspace: Any
    mask: Any
    maps: Any = None
    noise_covariance: Any = None
    voxel_size: tuple[float, float, float] = None  # type: ignore[assignment]
    affine: Any = None
    domains: tuple[Domain, Domain, Domain] = ("kspace", "kspace", "kspace")
    readout: Axis = "x"
    reference: Any = None
    provenance: tuple[Step, ...] = ()
    _centre: KspaceCentre | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        self._set("kspace", checks.checked_kspace(self.kspace))
        self._set("domains", checks.checked_domains(self.domains, self.readout))
        self._set("provenance", tuple(self.provenance))
        grid = self.grid
        self._set("voxel_size", grid.voxel_size)
        self._set("affine", grid.affine)
        self._set("mask", checks.checked_mask(self.mask, self.shape, self.domains[0]))
        self._set("maps", checks.checked_image(self.maps, "maps", (self.n_coils, *self.shape)))
        self._set("reference", checks.checked_image(self.reference, "reference", self.shape))
        self._set("noise_covariance", checks.checked_noise(self.noise_covariance, self.n_coils))
        for name in ("kspace", "mask", "maps", "noise_covariance", "reference"):
            self._set(name, checks.read_only(getattr(self, name)))

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    # ---- what it is ----------------------------------------------------------------------------------------

    @property
    def n_coils(self) -> int:
        """Number of receive coils."""
        return int(self.kspace.shape[0])

    @property
    def shape(self) -> tuple[int, int, int]:
        """Matrix size (x, y, z)."""
        x, y, z = self.kspace.shape[1:]
        return int(x), int(y), int(z)

    @property
    def grid(self) -> Grid:
        """Where the voxels lie."""
        return Grid(self.shape, self.voxel_size, self.affine)

    @property
    def phase_encodes(self) -> tuple[int, int]:
        """Size (y, z) of a mask that a scanner can measure: 1 along the readout of a 2D scan, else as the matrix."""
        _, y, z = self.shape
        return (1 if self.readout == "y" else y, 1 if self.readout == "z" else z)

    @property
    def centre(self) -> KspaceCentre:
        """Centre of k-space: located once, and kept by all steps; :meth:`recentre` moves it to ``n // 2``."""
        if self._centre is None:
            axes = (0, 1, 2) if self.readout == "x" else (1, 2)
            self._set("_centre", kspace_centre(self.kspace, self.mask, self.domains[0], axes=axes))
        assert self._centre is not None
        return self._centre

    @property
    def is_lazy(self) -> bool:
        """Whether the k-space is still on disk."""
        return is_lazy(self.kspace)

    @property
    def acceleration(self) -> float:
        """Achieved acceleration R: all positions of the mask over the sampled ones, calibration included."""
        return float(self.mask.size / np.count_nonzero(self.mask))

    @property
    def noise_std(self) -> float | None:
        """Standard deviation of the noise of one complex sample (root mean variance over coils), if known."""
        return None if self.noise_covariance is None else float(np.sqrt(np.diag(self.noise_covariance).real.mean()))

    @property
    def is_fully_sampled(self) -> bool:
        """Whether the mask is one block without gaps along any line, corners or one side missing at most."""
        return checks.is_one_block(self.mask)

    @property
    def is_whitened(self) -> bool:
        """Whether the noise is known to be uncorrelated and equally strong in all coils."""
        return self.noise_covariance is not None and checks.is_white(self.noise_covariance)

    def __repr__(self) -> str:
        return checks.described(self)

    # ---- steps: each returns a new acquisition with the step in its provenance -----------------------

    def evolve(self, step: str, settings: Mapping[str, Any] | None = None, **changes: Any) -> Acquisition:
        """Return a copy with `changes`, and the step in its provenance; the centre of new k-space is located anew."""
        evolved = replace(self, **changes, provenance=(*self.provenance, Step(step, dict(settings or {}))))
        return evolved if "kspace" in changes else evolved._with_centre(self._centre)

    def _with_centre(self, centre: KspaceCentre | None) -> Acquisition:
        self._set("_centre", centre)
        return self

    def slab(self, start: int, stop: int) -> Any:
        """Read k-space of the x positions ``start:stop`` only, ``(coils, stop - start, y, z)``."""
        return self.kspace[:, start:stop]

    def load(self) -> Acquisition:
        """Return the acquisition with its k-space in memory, checked for NaN, Inf and dead coils."""
        return replace(self, kspace=self.kspace[...])._with_centre(self._centre) if self.is_lazy else self

    def to(self, device: str) -> Acquisition:
        """Move k-space and maps to ``"cpu"`` or ``"cuda"``; masks, geometry, covariance stay on the CPU."""
        moved = self.load()
        maps = None if moved.maps is None else to_device(moved.maps, device)
        return replace(moved, kspace=to_device(moved.kspace, device), maps=maps)._with_centre(self._centre)

    def centred(self) -> Acquisition:
        """Return a copy that is known to have the centre of its k-space at ``n // 2`` of every axis."""
        x, y, z = (n // 2 for n in self.shape)
        middle = KspaceCentre((x, y, z), (True, True, True), (True, True, True))
        return replace(self)._with_centre(middle)

    def recentre(self, center: Sequence[int] | None = None) -> Acquisition:
        """Roll the k-space so that its centre lies at ``n // 2`` of every axis, which other steps and solvers expect.

        On the grid of the voxels, a roll of k-space is exactly a linear phase of the image: magnitudes and maps stay.
        The mask is rolled along; a complex reference and an axis x in the image domain get the phase. An array on disk
        stays there.

        Parameters
        ----------
        center
            Sample (x, y, z) where the centre is; by default where the energy peaks, see
            :func:`mrrecon.recentring.trusted_centre`.

        Returns
        -------
        Acquisition
            Its centre is ``n // 2``, whatever the data look like. The same object where no center is given and the peak
            lies at most one sample beside the middle, as the phase of a real object makes it.

        Raises
        ------
        DataError
            If `center` is not in the matrix, or the energy peaks far from the middle and as broadly as an image.
        """
        found = trusted_centre(self.centre, self.shape, self.domains, self.readout) if center is None else center
        roll = roll_to_middle(found, self.shape)
        if roll == (0, 0, 0):
            return self if center is None else self.centred()
        hybrid, axes = self.domains[0] == "image", range(self.mask.ndim)
        in_kspace = (0 if hybrid else roll[0], *roll[1:])
        moved = self.evolve(
            "recentre",
            {"center": [int(i) for i in found], "rolled": list(roll)},
            kspace=roll_kspace(self.kspace, roll, hybrid),
            mask=np.roll(self.mask, in_kspace[3 - self.mask.ndim :], tuple(axes)),
            reference=None if self.reference is None else shift_phase(self.reference, roll),
        )
        return moved.centred()

    def undersample(self, mask: Any, how: Mapping[str, Any] | None = None) -> Acquisition:
        """Keep only the samples of `mask` that the scan has too.

        Parameters
        ----------
        mask
            ``(y, z)`` or ``(x, y, z)``, bool; or of lines, ``(1, z)``, ``(y, 1)`` or one axis: see
            :func:`mrrecon.preparation.fit_mask`.
        how
            How the mask was made (kind, seed, ...), for the record.

        Raises
        ------
        MaskError
            If the shape does not fit or nothing would be left.
        """
        scan = self.load()
        mask = fit_mask(mask, scan.shape, scan.readout)
        kept = mask & scan.mask
        if not kept.any():
            raise MaskError("The mask and the samples have nothing in common; make a mask for this scan's size.")
        achieved = {"requested": float(mask.size / mask.sum()), "achieved": float(kept.size / kept.sum())}
        kspace = scan.kspace * get_array_module(scan.kspace).asarray(kept)
        sampled = scan.evolve("undersample", {**(how or {}), **achieved}, kspace=kspace, mask=kept)
        return sampled._with_centre(self._centre)

    def whiten(self, noise_covariance: Any = None) -> Acquisition:
        """Make the noise uncorrelated and equally strong in all coils, maps included.

        The mean noise variance, and with it the scale of the image, stays what it was: a whitened scan reconstructs to
        the units of the raw one.

        Parameters
        ----------
        noise_covariance
            Covariance ``(coils, coils)`` to use; by default the scan's own, and if it has none, that of
            :func:`mrrecon.operators.estimate_noise`. One that is singular is mended as far as it must, with a note.

        Raises
        ------
        DataError
            If the covariance given is not finite, or zero.
        """
        scan = self.load()
        samples = (scan.kspace, scan.mask, scan.domains[0], lambda: scan.centre.index)
        covariance, how = noise_to_whiten(*samples, given=noise_covariance, scanned=scan.noise_covariance)
        variance = float(np.diag(covariance).real.mean())
        return scan.evolve(
            "whiten",
            {**how, "noise_std": np.sqrt(np.diag(covariance).real).tolist()},
            kspace=operators.whiten(scan.kspace, covariance / variance),
            maps=None if scan.maps is None else operators.whiten(scan.maps, covariance / variance),
            noise_covariance=variance * np.eye(scan.n_coils),
        )._with_centre(scan._centre)

    def decline_whitening(self) -> Acquisition:
        """Take the coils as they are: of a known covariance, only the mean variance is kept, as for equal coils.

        Solvers then whiten no more than one has asked for.
        """
        if self.noise_std is None or self.is_whitened:
            return self
        return self.evolve("not whitened", noise_covariance=self.noise_std**2 * np.eye(self.n_coils))

    def select_coils(self, keep: Sequence[int]) -> Acquisition:
        """Keep only these coils, in this order, each once (else it is a DataError); what is on disk stays there."""
        keep = [int(c) for c in keep]
        checks.require_coils(keep, self.n_coils)
        covariance = self.noise_covariance
        return self.evolve(
            "select coils",
            {"keep": keep},
            kspace=ChosenCoils(self.kspace, tuple(keep)) if self.is_lazy else self.kspace[keep],
            maps=None if self.maps is None else self.maps[..., keep, :, :, :],
            noise_covariance=None if covariance is None else covariance[np.ix_(keep, keep)],
        )._with_centre(self._centre)

    def hybrid(self) -> Acquisition:
        """Transform the readout to the image domain, if it is not there already (needs a (y, z) mask)."""
        if self.domains[0] == "image":
            return self
        if self.mask.ndim != 2:
            raise MaskError("Hybrid space needs a fully sampled readout, that is a (y, z) mask; this one is (x, y, z).")
        scan = self.load()
        changes = {"kspace": operators.ifft(scan.kspace, axes=(1,)), "domains": ("image", "kspace", "kspace")}
        return scan.evolve("readout to image", **changes)._with_centre(self._centre)

    def compress_coils(self, n: int, method: Literal["svd", "geometric"] = "svd", calibration: int = 24) -> Acquisition:
        """Compress the coils to `n` virtual ones, maps and noise covariance included.

        Whiten first: then the noise stays white and ``"svd"`` keeps the most signal for its noise. ``"geometric"`` has
        one matrix per readout position, keeps more, and takes the scan to hybrid space.

        Raises
        ------
        DataError
            If `n` is not between 1 and the number of coils.
        """
        scan, index = self.hybrid() if method == "geometric" else self.load(), self.centre.index
        kspace, matrix = operators.compress_coils(
            scan.kspace, n, method, calibration=calibration, readout_domain=scan.domains[0], centre=index
        )
        noise = None if scan.noise_covariance is None else operators.transform_covariance(scan.noise_covariance, matrix)
        return scan.evolve(
            "compress coils",
            {"method": method, "from": scan.n_coils, "to": n},
            kspace=kspace,
            maps=None if scan.maps is None else operators.mix_coils(scan.maps, matrix),
            noise_covariance=noise if noise is None or noise.ndim == 2 else noise.mean(axis=0),
        )._with_centre(scan._centre)

    def calibrate(self, *, cover: bool = True, **settings: Any) -> Acquisition:
        """Estimate coil sensitivity maps by ESPIRiT from the calibration region of the scan itself.

        Parameters
        ----------
        cover
            Leave no holes in the maps inside the object.
        settings
            Passed to :func:`mrrecon.operators.espirit` (calibration, kernel, threshold, crop, sets, ...). Of the scan
            only the calibration region is read, around the centre of k-space wherever that lies.

        Returns
        -------
        Acquisition
            With the maps, and in its provenance the share of the signal that they leave out, with a warning where it
            is too much (:func:`mrrecon.operators.map_coverage`).

        Raises
        ------
        CalibrationError
            If there is no fully sampled block of sufficient size in the centre of k-space.
        """
        maps, how = calibrated_maps(self.kspace, self.mask, self.domains[0], self.centre.index, cover=cover, **settings)
        return self._with_measured_maps(maps, "calibrate", how)

    def with_maps(self, maps: Any, source: str = "given") -> Acquisition:
        """Take these coil sensitivity maps, and measure what share of the signal they leave out.

        Parameters
        ----------
        maps
            ``(coils, x, y, z)`` or ``(sets, coils, x, y, z)``.
        source
            Where they come from, for the provenance: the file's name.
        """
        return self._with_measured_maps(maps, "maps", {"source": source})

    def fit_maps(self, volume: Any) -> Acquisition:
        """Fit the maps to all samples, given a volume, see :func:`mrrecon.operators.fit_maps`.

        Parameters
        ----------
        volume
            ``(x, y, z)``, or a reconstruction, made with these maps; :func:`mrrecon.solvers.joint_maps` makes it too.

        Raises
        ------
        DataError, ShapeError
            If there are no maps or several sets, or the volume does not fit.
        """
        scan = self.load()
        samples = (scan.kspace, scan.mask, scan.domains[0], scan.centre.index)
        maps, how = fitted_maps(*samples, scan.noise_covariance, maps=scan.maps, volume=volume)
        return scan._with_measured_maps(maps, "fit maps", how)

    def _with_measured_maps(self, maps: Any, step: str, settings: dict[str, Any]) -> Acquisition:
        maps = checks.checked_image(maps, "maps", (self.n_coils, *self.shape))
        measured = measured_coverage(maps, self.kspace, self.mask, self.domains[0], self.centre.index)
        return self.evolve(step, {**settings, **measured}, maps=maps)
