"""What a method that failed had until then, in a file beside the one that was asked for."""

from __future__ import annotations

from itertools import count
from pathlib import Path

from mrrecon.errors import MRReconError, SolverError

__all__ = ["with_partial"]


def with_partial(error: SolverError, output: str) -> SolverError:
    """Save the last good reconstruction of a failed run, and say where.

    Parameters
    ----------
    error
        Of the solver.
    output
        The file that was asked for, to which nothing is written: ``v.partial.h5`` beside ``v.nii.gz``, or the next
        name that is free.

    Returns
    -------
    SolverError
        The same, with one sentence that says this too.
    """
    said = str(error).rstrip(".")
    if error.partial is None:
        return SolverError(f"{said}; nothing is written to {output}.")
    target = Path(output.rstrip("/"))
    stem = target.name.removesuffix(target.suffix).removesuffix(".nii")
    names = (target.with_name(f"{stem}.partial{'' if n == 1 else f'-{n}'}.h5") for n in count(1))
    path = next(name for name in names if not name.exists())
    iterations = len(error.partial.history)
    try:
        error.partial.save(path)
    except (MRReconError, OSError) as second:
        return SolverError(
            f"{said}; nothing is written to {output}, nor what there was before: {second}", error.partial
        )
    return SolverError(
        f"{said}; nothing is written to {output}, the image of iteration {iterations} is kept in {path}.",
        error.partial,
    )
