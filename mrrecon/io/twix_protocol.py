"""The protocol of a Siemens measurement: what of it says how the readouts make an image.

Two notations: ``MeasYaps`` (also in ``Phoenix`` and ``Meas``) lists ``name = value`` between ASCCONV marks and
leaves out zeros; ``Meas`` is XProtocol, ``<ParamLong."name"> { values }``, and has what the sequence derived.
"""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from mrrecon.errors import DataError
from mrrecon.io.regridding import RampSampling

__all__ = ["Protocol", "parse_protocol"]

_TRAJECTORIES = {1: "cartesian", 2: "radial", 4: "spiral", 8: "propeller"}
_CALIBRATIONS = {2: "embedded", 4: "separate", 8: "separate", 16: "interleaved", 32: "interleaved", 64: "interleaved"}
_RAMPS: dict[int, Literal["trapezoid", "sinusoid"]] = {2: "trapezoid", 4: "sinusoid"}
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
_ATTRIBUTE = re.compile(r'<\w+>\s*(?:"[^"]*"|[-+.\w]+)')


@dataclass(frozen=True)
class Protocol:
    """What a protocol says of the image; lengths in mm, zero or ``None`` where it says nothing.

    Parameters
    ----------
    name
        Name of the protocol.
    base, lines, partitions
        Matrix: columns without oversampling, lines and partitions with theirs.
    fov
        Field of view along (readout, phase encoding, slab or slice), without oversampling.
    phase_oversampling, slice_oversampling
        Ratio of the encoded to the wanted field of view along phase encoding and through a slab.
    readout_oversampling
        Ratio of the sampled to the wanted field of view along the readout.
    is_3d
        Whether it is a volume; ``None`` if it does not say.
    trajectory
        Name as in ISMRMRD.
    calibration
        Calibration mode as in ISMRMRD (embedded, separate, interleaved), ``""`` where there is none.
    multiband
        Number of slices that are excited together.
    vector_size
        Points of each spectrum; zero for images.
    dwell_time
        Of the first echo, in microseconds.
    regridding
        Mode of the regridding: 1 none.
    ramps
        Sampling on the gradient's ramps, if it is of a known mode and its times are possible.
    """

    name: str
    base: int
    lines: int
    partitions: int
    fov: tuple[float, float, float]
    phase_oversampling: float
    slice_oversampling: float
    readout_oversampling: float | None
    is_3d: bool | None
    trajectory: str
    calibration: str
    multiband: int
    vector_size: int
    dwell_time: float
    regridding: int
    ramps: RampSampling | None


def parse_protocol(buffers: Mapping[str, str], name: str) -> Protocol:
    """Read the protocol from its buffers; `name` is what the file's table calls the measurement."""
    yaps = _assignments(buffers)
    meas = buffers.get("Meas") or "".join(buffers.values())

    def number(key: str, default: float = 0.0) -> float:
        return next(iter(_numbers(yaps.get(key, ""))), default)

    def derived(key: str) -> float:
        return next(iter(_parameter(meas, key)), 0.0)

    piece = "sSliceArray.asSlice[0]."
    dimension = int(number("sKSpace.ucDimension"))
    mode = int(derived("alRegridMode")) or 1
    ramps = None
    if mode in _RAMPS:
        up, flat, down = (derived(f"alRegrid{time}") for time in ("RampupTime", "FlattopTime", "RampdownTime"))
        delay, duration = derived("alRegridDelaySamplesTime"), derived("aflRegridADCDuration")
        with contextlib.suppress(DataError):  # times that cannot be: the reader says that the sampling is unknown
            ramps = RampSampling(_RAMPS[mode], up, flat, down, delay, duration)
    return Protocol(
        name=name or yaps.get("tProtocolName", "").strip('"'),
        base=int(number("sKSpace.lBaseResolution")),
        lines=int(number("sKSpace.lPhaseEncodingLines")),
        partitions=int(number("sKSpace.lPartitions")),
        fov=(number(piece + "dReadoutFOV"), number(piece + "dPhaseFOV"), number(piece + "dThickness")),
        phase_oversampling=1 + max(0.0, number("sKSpace.dPhaseOversamplingForDialog")),
        slice_oversampling=1 + max(0.0, number("sKSpace.dSliceOversamplingForDialog")),
        readout_oversampling=derived("flReadoutOSFactor") or None,
        is_3d={2: False, 4: True}.get(dimension),
        trajectory=_TRAJECTORIES.get(int(number("sKSpace.ucTrajectory", 1)), "unknown"),
        calibration=_CALIBRATIONS.get(int(number("sPat.ucRefScanMode")), ""),
        multiband=max(1, int(number("sSliceAcceleration.lMultiBandFactor", 1))),
        vector_size=int(number("sSpecPara.lVectorSize")),
        dwell_time=number("sRXSPEC.alDwellTime[0]") / 1000 or derived("alDwellTime") / 1000,
        regridding=mode,
        ramps=ramps,
    )


def _assignments(buffers: Mapping[str, str]) -> dict[str, str]:
    """The lines ``name = value`` of the first buffer that has them."""
    for name in ("MeasYaps", "Phoenix", "Meas", *buffers):
        text = buffers.get(name, "")
        if "=" in text and (name == "MeasYaps" or "### ASCCONV BEGIN" in text):
            body = text.partition("### ASCCONV BEGIN")[2] or text
            body = body.partition("### ASCCONV END")[0]
            return dict(re.findall(r"^[ \t]*(\S+)[ \t]*=[ \t]*(.*?)[ \t\r]*$", body, re.MULTILINE))
    return {}


def _numbers(text: str) -> list[float]:
    """Finite numbers in a text, decimal or hexadecimal."""
    if text[:2].lower() == "0x":
        return [float(int(text[2:], 16))] if re.fullmatch(r"[0-9a-fA-F]{1,16}", text[2:]) else []
    found = [float(v) for v in _NUMBER.findall(text)]
    return [v for v in found if math.isfinite(v) and abs(v) < 1e9]


def _parameter(text: str, key: str) -> list[float]:
    """Values of the first parameter of this name that has any."""
    for match in re.finditer(rf'<Param(?:Long|Double|Bool)\."{key}">\s*{{([^}}]*)}}', text):
        values = _numbers(_ATTRIBUTE.sub("", match.group(1)))
        if values:
            return values
    return []
