"""Reads files of numpy arrays, .npz. Whatever numpy and zipfile raise for a damaged one is one ValueError."""

import io
import struct
import tokenize
import zlib
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

_DAMAGE = (
    BadZipFile, zlib.error, struct.error, tokenize.TokenError, EOFError, LookupError, MemoryError, RuntimeError,
    SyntaxError, TypeError, ValueError,
)  # fmt: skip


def read_arrays(path: Path, *names: str, cure: str = "") -> dict[str, NDArray[Any]]:
    """Read the named arrays of a file, or all.

    cure: what to do about a damaged file, for the error.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is damaged, or lacks one of them.
    """
    content = path.read_bytes()  # of a file, zipfile would raise OSError for offsets that are wrong
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            return {name: file[name] for name in names or file.files}
    except _DAMAGE as error:
        raise ValueError(f"{path} is damaged" + (f": {cure}" if cure else "")) from error
