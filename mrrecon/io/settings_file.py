"""Reading files of settings that people write: YAML in, a plain dictionary or one clear sentence out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mrrecon.errors import FileFormatError

__all__ = ["read_settings"]


def read_settings(path: str | Path, least: str) -> dict[str, Any]:
    """Read a YAML file of settings.

    Parameters
    ----------
    path
        The file.
    least
        The settings that it must have, for the message.

    Raises
    ------
    FileFormatError
        If the file is missing, not text, not YAML, or has no settings.
    """
    from jsonargparse import get_loader  # reads 4e-4 as a number, which plain YAML 1.1 does not

    try:
        settings = get_loader("yaml")(Path(path).read_text("utf-8"))
    except OSError as error:
        raise FileFormatError(f"{path} cannot be read: {error.strerror or error}.") from error
    except ValueError as error:
        raise FileFormatError(f"{path} is not text.") from error
    except Exception as error:  # the YAML library's own exceptions
        raise FileFormatError(f"{path} is not valid YAML: {' '.join(str(error).split())[:200]}.") from error
    if not isinstance(settings, dict):
        raise FileFormatError(f"{path} has no settings; it must be YAML with at least {least}.")
    return settings
