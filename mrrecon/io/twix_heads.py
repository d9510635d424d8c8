"""Measurement data headers of twix as heads of ISMRMRD."""

from __future__ import annotations

import numpy as np

from mrrecon.io.ismrmrd_header import FLAGS, HEADER_DTYPE, NO_IMAGE
from mrrecon.io.ismrmrd_header import flagged as has_flag
from mrrecon.io.twix_file import flagged

__all__ = ["is_image", "translated"]

# flag of ISMRMRD -> flags of twix, as siemens_to_ismrmrd translates them, and what else is no image there
_FLAGS = {
    "first_in_slice": ("first_in_slice",),
    "last_in_slice": ("last_in_slice",),
    "last_in_measurement": ("last_in_measurement",),
    "noise": ("noise",),
    "calibration": ("reference",),
    "calibration_and_imaging": ("reference_and_image",),
    "reverse": ("reversed",),
    "navigation": ("feedback", "motion", "other_navigator"),
    "phase_correction": ("phase_correction",),
    "high_priority_feedback": ("hp_feedback",),
    "dummy": ("dummy", "transmit_control", "transmit_monitor", "multiband_reference", "multiband_phase_correction"),
    "surface_coil_correction": ("normalise",),
    "phase_stabilization_reference": ("phase_stabilization_reference",),
    "phase_stabilization": ("phase_stabilization",),
}
_COUNTERS = {"kspace_encode_step_1": "Lin", "kspace_encode_step_2": "Par", "average": "Ave", "slice": "Sli"}
_COUNTERS |= {"contrast": "Eco", "phase": "Phs", "repetition": "Rep", "set": "Set", "segment": "Seg"}
_USER_COUNTERS = ("Ida", "Idb", "Idc", "Idd", "Ide")


def is_image(heads: np.ndarray) -> np.ndarray:
    """Which heads are of readouts that are part of the image by themselves."""
    return ~has_flag(heads, "calibration", *NO_IMAGE)


def translated(mdh: np.ndarray) -> np.ndarray:
    """ISMRMRD heads of measurement data headers."""
    heads = np.zeros(len(mdh), HEADER_DTYPE)
    heads["version"] = 1
    for flag, names in _FLAGS.items():
        set_ = flagged(mdh, *names)
        if flag == "calibration":  # the image's own lines may carry both flags
            set_ &= ~flagged(mdh, "reference_and_image")
        if flag == "navigation":  # echo-planar navigators carry the feedback flag too
            set_ &= ~flagged(mdh, "phase_correction")
        heads["flags"] |= set_.astype(np.uint64) << np.uint64(FLAGS[flag] - 1)
    for name, counter in _COUNTERS.items():
        heads["idx"][name] = mdh["counters"][counter]
    for i, counter in enumerate(_USER_COUNTERS):
        heads["idx"]["user"][:, i] = mdh["counters"][counter]
    heads["acquisition_time_stamp"] = mdh["time"]
    heads["number_of_samples"] = mdh["samples"]
    heads["active_channels"] = heads["available_channels"] = mdh["channels"]
    heads["discard_pre"], heads["discard_post"] = mdh["cut_before"], mdh["cut_after"]
    # a column's echo lies as far from the end of a reversed readout as from the start of a forward one
    backwards = flagged(mdh, "reversed") & (mdh["center_column"] > 0)
    heads["center_sample"] = mdh["center_column"] - backwards
    heads["position"] = mdh["position"]
    phase, read, normal = _directions(mdh["quaternion"])
    heads["read_dir"], heads["phase_dir"], heads["slice_dir"] = -read, -phase, normal
    return heads


def _directions(quaternion: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Phase, readout and slice directions, ``(rows, 3)`` each, of quaternions (w, x, y, z); zero without one."""
    w, x, y, z = quaternion.astype(np.float64).T
    there = (abs(w**2 + x**2 + y**2 + z**2 - 1) < 0.01)[:, None]
    phase = np.stack([1 - 2 * (y**2 + z**2), 2 * (x * y + z * w), 2 * (x * z - y * w)], axis=1)
    read = np.stack([2 * (x * y - z * w), 1 - 2 * (x**2 + z**2), 2 * (y * z + x * w)], axis=1)
    normal = np.stack([2 * (x * z + y * w), 2 * (y * z - x * w), 1 - 2 * (x**2 + y**2)], axis=1)
    return phase * there, read * there, normal * there
