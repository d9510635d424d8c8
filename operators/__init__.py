"""Physics of Cartesian multicoil 3D MRI: operators, masks, calibration, coil handling. No neural networks.

Names are loaded on first use, so that importing this package costs nothing.
"""

import lazy_loader

if __name__ == "operators":
    raise ImportError("operators/ is installed as mrrecon.operators; write: from mrrecon import operators")

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
