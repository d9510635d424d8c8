"""Reports of studies: tables, plots and montages of the rows that ``mrrecon bench`` wrote.

>>> from mrrecon import report
>>> report.write_report("runs/study", "report")                # doctest: +SKIP

Names are loaded on first use.
"""

import importlib
from typing import Any

_HOME = {  # public name -> module that defines it
    "Summary": "summary",
    "draw_cost": "plots",
    "draw_quality": "plots",
    "draw_settings": "plots",
    "gains": "summary",
    "write_report": "document",
}

__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f"mrrecon.report.{_HOME[name]}"), name)
    raise AttributeError(f"module 'mrrecon.report' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
