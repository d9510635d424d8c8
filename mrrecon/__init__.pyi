from . import errors as errors
from . import io as io
from . import metrics as metrics
from . import operators as operators
from . import priors as priors
from . import simulation as simulation
from . import solvers as solvers
from .acquisition import Acquisition as Acquisition
from .grid import Grid as Grid
from .io import read as read
from .io import write as write
from .metrics import evaluate as evaluate
from .reconstruction import Reconstruction as Reconstruction
from .simulation import simulate as simulate

__version__: str
