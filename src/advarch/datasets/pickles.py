"""Reading arrays out of a pickle that nobody vouches for.

Unpickling calls what the file names, so a stranger's pickle runs a stranger's code. CIFAR and the 500,000
extra images of RST come as pickles of dictionaries of NumPy arrays. Here no callable of NumPy or of anything
else is handed to the
unpickler: the few names that such files need are answered by stand-ins that only keep what they are given,
    and the
arrays are built from that afterwards, of plain numbers only. Any other name stops the reading.
"""

import pickle
from pathlib import Path
from typing import Any

import numpy as np

from advarch.errors import InputError


class _Refused(pickle.UnpicklingError):
    """The file names something that is no array."""


class _Dtype:
    """Stands in for numpy.dtype: plain bytes, whole numbers, floats and booleans, no objects."""

    def __init__(self, code: str | bytes, *_: Any) -> None:
        code = code.decode("latin1") if isinstance(code, bytes) else code
        if code.lstrip("<>|=") not in ("b1", "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8"):
            raise _Refused(f"an array of {code!r}")
        self.dtype = np.dtype(code)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        order: Any = state[1].decode("latin1") if isinstance(state[1], bytes) else state[1]
        if order not in ("<", ">", "|", "="):
            raise _Refused(f"byte order {order!r}")
        self.dtype = self.dtype.newbyteorder(order)


class _Array:
    """Stands in for numpy.ndarray and for the function that rebuilds one; filled by __setstate__."""

    array: np.ndarray | None = None

    def __init__(self, *_: Any) -> None:
        pass

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, fortran, raw = state
        # A file written by Python 2 and read as latin1 holds its bytes as a string.
        self.array = _array(raw.encode("latin1") if isinstance(raw, str) else raw, dtype, shape, fortran)


class _Buffer(_Array):
    """Stands in for NumPy's function that rebuilds an array of pickle protocol 5."""

    def __init__(self, raw: bytes, dtype: _Dtype, shape: tuple[int, ...], order: str) -> None:
        self.array = _array(raw, dtype, shape, order == "F")


class _Scalar(_Array):
    """Stands in for NumPy's function that rebuilds a single number."""

    def __init__(self, dtype: _Dtype, raw: bytes) -> None:
        self.array = _array(raw, dtype, (), False)


class _Encoded(bytes):
    """Stands in for codecs.encode, by which Python 3 writes bytes in old protocols."""

    def __new__(cls, text: str, encoding: str) -> "_Encoded":
        if encoding != "latin1":
            raise _Refused(f"encoding {encoding!r}")
        return super().__new__(cls, text.encode("latin1"))


_STAND_INS: dict[tuple[str, str], type] = {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Dtype,
    ("_codecs", "encode"): _Encoded,
    **{
        (f"numpy.{core}.{module}", name): stand_in
        for core in ("core", "_core")
        for module, name, stand_in in (
            ("multiarray", "_reconstruct", _Array),
            ("multiarray", "scalar", _Scalar),
            ("numeric", "_frombuffer", _Buffer),
        )
    },
}


class _ArraysOnly(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> type:
        if (module, name) not in _STAND_INS:
            raise _Refused(f"the name {module}.{name}")
        return _STAND_INS[module, name]


def read_arrays(path: Path) -> dict[str, Any]:
    """The dictionary in a pickle file: arrays, numbers, strings, and lists of them; nothing in it can run.

    Args:
        path: of the file; keys and strings that Python 2 wrote are read as latin1.

    Raises:
        InputError: the file holds something else, or is cut short.
    """
    try:
        with open(path, "rb") as source:
            found = _ArraysOnly(source, encoding="latin1").load()
        if not isinstance(found, dict):
            raise _Refused(f"a {type(found).__name__} in place of a dictionary")
        return {_text(key): _plain(value) for key, value in found.items()}
    except _Refused as error:
        raise InputError(
            f"expected nothing but arrays in {path}, came {error}; such a file could run code, so it was not "
            "read: "
            "get the file from its authors once more"
        ) from error
    except OSError as error:
        raise InputError(
            f"expected a readable file {path}, came: {error.strerror}; check its permissions"
        ) from error
    except Exception as error:  # a broken pickle makes the unpickler raise almost anything
        raise InputError(
            f"expected a pickle of arrays in {path}, came {type(error).__name__} ({error}); the file is cut "
            "short or "
            "damaged: get it once more"
        ) from error


def _array(raw: bytes, dtype: Any, shape: tuple[int, ...], fortran: bool) -> np.ndarray:
    if not isinstance(dtype, _Dtype):
        raise _Refused("an array without a type")
    return np.frombuffer(raw, dtype.dtype).reshape(shape, order="F" if fortran else "C")


def _text(key: Any) -> str:
    return key.decode("latin1") if isinstance(key, bytes) else str(key)


def _plain(value: Any) -> Any:
    if isinstance(value, _Array):
        if value.array is None:
            raise _Refused("an array without content")
        return value.array
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return value
