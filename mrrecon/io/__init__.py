"""Reading k-space files and writing results; one module per format, chosen by content.

>>> from mrrecon import io
>>> scan = io.read("scan.h5", lazy=True)     # doctest: +SKIP
>>> io.write(scan, "copy.h5")                # doctest: +SKIP
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mrrecon.acquisition import Acquisition
from mrrecon.errors import OutputError
from mrrecon.reconstruction import Reconstruction

if TYPE_CHECKING:
    from mrrecon.io.arrays import read_maps, read_reference, write_maps, write_mask
    from mrrecon.io.checks import available_memory, require_memory
    from mrrecon.io.masks import read_mask
    from mrrecon.io.nifti import read_volume
    from mrrecon.io.png import montage
    from mrrecon.io.registry import Format, detect, formats, read

__all__ = [
    "Format",
    "available_memory",
    "detect",
    "find_writer",
    "formats",
    "montage",
    "read",
    "read_maps",
    "read_mask",
    "read_reference",
    "read_volume",
    "require_memory",
    "write",
    "write_maps",
    "write_mask",
]

_HOME = {
    "Format": "registry",
    "detect": "registry",
    "formats": "registry",
    "read": "registry",
    "read_mask": "masks",
    "read_volume": "nifti",
    "montage": "png",
    "read_maps": "arrays",
    "read_reference": "arrays",
    "write_maps": "arrays",
    "write_mask": "arrays",
    "available_memory": "checks",
    "require_memory": "checks",
}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        import importlib

        return getattr(importlib.import_module(f"mrrecon.io.{_HOME[name]}"), name)
    raise AttributeError(f"module 'mrrecon.io' has no attribute {name!r}")


def write(thing: Acquisition | Reconstruction, path: str | os.PathLike[str], *, format: str | None = None) -> Path:
    """Write an acquisition or a reconstruction; the suffix chooses the format.

    Acquisition: ``.h5`` (ours, keeps everything), ``.mrd`` (ISMRMRD), ``.cfl``. Reconstruction: ``.h5``
    (keeps everything), ``.nii``, ``.nii.gz``, ``.cfl``, ``.png``, or a name without suffix for a DICOM
    folder.

    Parameters
    ----------
    thing
        What to write.
    path
        Where; an existing file is replaced only once the new one is complete.
    format
        Name of the format, where the suffix does not say (``"ismrmrd"`` for an ISMRMRD file named ``.h5``).

    Returns
    -------
    Path
        The file or folder written.

    Raises
    ------
    OutputError
        If no writer fits, the folder is missing or not writable, the disk is full, or `thing` is still
        being read from `path`.
    """
    if not isinstance(thing, (Acquisition, Reconstruction)):
        raise OutputError(f"Only an Acquisition or a Reconstruction can be written, got {type(thing).__name__}.")
    target = Path(path)
    chosen = find_writer(target, format)
    source = getattr(getattr(thing, "kspace", None), "path", None)
    if source is not None and target.exists() and os.path.samefile(source, target):
        raise OutputError(
            f"{target} is the file that this acquisition is still being read from; write to another name, "
            "or call acquisition.load() first."
        )
    assert chosen.write is not None
    return chosen.write(thing, target)


def find_writer(path: str | os.PathLike[str], format: str | None = None) -> Format:
    """Return the format that :func:`write` would use for `path`.

    Raises
    ------
    OutputError
        If there is none.
    """
    from mrrecon.io.registry import formats

    target = Path(path)
    writers = {name: f for name, f in formats().items() if f.write is not None}
    if format is not None:
        chosen = writers.get(format)
    else:
        name = target.name.lower()
        chosen = next((f for f in writers.values() if any(s and name.endswith(s) for s in f.suffixes)), None)
        if chosen is None and (not target.suffix or target.is_dir()):
            chosen = writers["dicom"]
    if chosen is None:
        endings = ", ".join(sorted({s for f in writers.values() for s in f.suffixes if s}))
        raise OutputError(
            f"{target}: no writer for {format or target.suffix!r}; use one of {endings}, or a folder name."
        )
    return chosen
