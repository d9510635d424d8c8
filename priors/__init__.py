"""Image priors of complex MR slices behind one interface: trained, classical, or from other packages.

Names are loaded on first use, so that importing this package costs nothing.
"""

import lazy_loader

if __name__ == "priors":
    raise ImportError("priors/ is installed as mrrecon.priors; write: from mrrecon import priors")

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
