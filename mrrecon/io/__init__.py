"""Reading k-space files and writing results; one module per format, chosen by content.

>>> from mrrecon import io
>>> scan = io.read("scan.h5", lazy=True)     # doctest: +SKIP
>>> io.write(scan, "copy.h5")                # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mrrecon.io.arrays import read_maps, read_reference, write_maps, write_mask, write_part
    from mrrecon.io.checks import available_memory, is_same_file, require_disk, require_memory
    from mrrecon.io.format import Format
    from mrrecon.io.masks import read_mask
    from mrrecon.io.nifti import read_volume
    from mrrecon.io.png import montage
    from mrrecon.io.registry import check_output, detect, find_writer, formats, read, reader_options, write

__all__ = [
    "Format",
    "available_memory",
    "check_output",
    "detect",
    "find_writer",
    "formats",
    "is_same_file",
    "montage",
    "read",
    "read_maps",
    "read_mask",
    "read_reference",
    "read_volume",
    "reader_options",
    "require_disk",
    "require_memory",
    "write",
    "write_maps",
    "write_mask",
    "write_part",
]

_HOME = {
    "Format": "format",
    "check_output": "registry",
    "detect": "registry",
    "find_writer": "registry",
    "formats": "registry",
    "read": "registry",
    "reader_options": "registry",
    "write": "registry",
    "read_mask": "masks",
    "read_volume": "nifti",
    "montage": "png",
    "read_maps": "arrays",
    "read_reference": "arrays",
    "write_maps": "arrays",
    "write_mask": "arrays",
    "write_part": "arrays",
    "available_memory": "checks",
    "is_same_file": "checks",
    "require_disk": "checks",
    "require_memory": "checks",
}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        import importlib

        return getattr(importlib.import_module(f"mrrecon.io.{_HOME[name]}"), name)
    raise AttributeError(f"module 'mrrecon.io' has no attribute {name!r}")
