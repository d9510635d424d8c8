"""``mrrecon extract``: one volume out of a result, as a file for viewers."""

from __future__ import annotations

from typing import Annotated

from mrrecon.commands.files import InputFile, Word, writes

__all__ = ["extract"]


def extract(file: InputFile, output: list[Annotated[str, writes("part")]], what: Word = "magnitude") -> None:
    """Write one volume of a result: the image, or what the solver found beside it.

    Parameters
    ----------
    file
        Result (.h5) that mrrecon recon wrote.
    output
        Files to write: .nii.gz, .npy, .cfl (complex volumes as they are), or .png (three planes).
    what
        magnitude, phase (radians), real, imag or complex of the image, or the name of an extra: error, what the error
        of the image is expected to be (standard deviation); prior_influence, the part of the image that the data do not
        determine; deviation, the standard deviation over posterior samples; sample-1, sample-2, ..., these samples.
        mrrecon info FILE lists them. NIfTI and PNG show the magnitude of complex ones.
    """
    from mrrecon import io
    from mrrecon.reconstruction import Reconstruction

    result = Reconstruction.load(file)
    result.part(what)  # refuses at once what is not there
    for path in output:
        print(f"wrote {io.write_part(result, what, path)}")
