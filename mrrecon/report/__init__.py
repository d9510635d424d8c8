"""Reports of studies: tables, plots and montages of the rows that ``mrrecon bench`` wrote.

>>> from mrrecon import report
>>> report.write_report("runs/study", "report")                # doctest: +SKIP

Names are loaded on first use.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
