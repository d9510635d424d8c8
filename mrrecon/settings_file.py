"""Files of settings, YAML."""

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
        If the file is missing, not text, not YAML (with the line that is wrong), or has no settings.
    """
    from jsonargparse import get_loader  # reads 4e-4 as a number, which plain YAML 1.1 does not

    try:
        settings = get_loader("yaml")(Path(path).read_text("utf-8"))
    except OSError as error:
        raise FileFormatError(f"{path} cannot be read: {error.strerror or error}.") from error
    except UnicodeDecodeError as error:
        raise FileFormatError(f"{path} is not text.") from error
    except Exception as error:  # the YAML library's own exceptions
        raise FileFormatError(f"{path} is not valid YAML{_place(error)}.") from error
    if not isinstance(settings, dict):
        raise FileFormatError(f"{path} has no settings; it must be YAML with at least {least}.")
    return settings


def _place(error: Exception) -> str:
    """Where the YAML library lost its way, and why."""
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    reason = getattr(error, "problem", None) or " ".join(str(error).split())[:200]
    context = getattr(error, "context", None)
    said = f"{context}: {reason}" if context else str(reason)
    return f": {said}" if mark is None else f", line {mark.line + 1}, column {mark.column + 1}: {said}"
