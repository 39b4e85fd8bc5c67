"""Pickles of arrays are read; nothing in a pickle ever runs."""

import io
import os
import pickle
import struct

import numpy as np
import pytest

from advarch.datasets.pickles import read_arrays
from advarch.errors import InputError

ARRAYS = {
    "bytes": np.arange(24, dtype=np.uint8).reshape(2, 3, 4),
    "fortran": np.asfortranarray(np.arange(6, dtype=np.int64).reshape(2, 3)),
    "big": np.arange(3, dtype=">i4"),
    "floats": np.array([0.5, -1.0], dtype=np.float32),
}


@pytest.mark.parametrize("protocol", range(6))
def test_arrays_come_back_exactly(tmp_path, protocol):
    path = tmp_path / "arrays.pickle"
    path.write_bytes(
        pickle.dumps(ARRAYS | {"labels": [1, 2], "name": "a", "n": np.int64(7)}, protocol=protocol)
    )
    found = read_arrays(path)
    for key, expected in ARRAYS.items():
        assert np.array_equal(found[key], expected)
        assert found[key].dtype == expected.dtype
    assert (found["labels"], found["name"], int(found["n"])) == ([1, 2], "a", 7)


def test_a_pickle_of_python_2_is_read(tmp_path):
    """CIFAR's files: protocol 2, byte strings for keys and for an array's content."""
    out = io.BytesIO()

    def text(value: bytes) -> None:
        out.write(b"U" + bytes([len(value)]) + value)

    out.write(b"\x80\x02}")
    text(b"data")
    out.write(b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85")
    text(b"b")
    out.write(b"\x87R(K\x01K\x01K\x04\x86cnumpy\ndtype\n")
    text(b"u1")
    out.write(b"K\x00K\x01\x87R(K\x03")
    text(b"|")
    out.write(b"NNNJ" + struct.pack("<i", -1) + b"J" + struct.pack("<i", -1) + b"K\x00tb\x89")
    text(b"\x00\x7f\x80\xff")
    out.write(b"tbs.")
    path = tmp_path / "data_batch_1"
    path.write_bytes(out.getvalue())
    assert read_arrays(path)["data"].tolist() == [[0, 127, 128, 255]]


class Runs:
    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", [0, 2, 5])
@pytest.mark.parametrize("function", [os.mkdir, eval, getattr, np.load, np.zeros, __import__])
def test_a_malicious_pickle_runs_nothing(tmp_path, function, protocol):
    target = tmp_path / "ran"
    argument = f"__import__('os').mkdir({str(target)!r})" if function is eval else str(target)
    path = tmp_path / "evil.pickle"
    path.write_bytes(
        pickle.dumps({"data": ARRAYS["bytes"], "x": Runs(function, argument)}, protocol=protocol)
    )
    if function is os.mkdir:
        pickle.loads(path.read_bytes())
        assert target.exists(), "the file has to be dangerous for the test to mean anything"
        target.rmdir()
    with pytest.raises(InputError, match="could run code, so it was not read") as caught:
        read_arrays(path)
    assert "\n" not in str(caught.value)
    assert not target.exists()


def test_an_array_of_objects_is_refused(tmp_path):
    path = tmp_path / "objects.pickle"
    path.write_bytes(pickle.dumps({"data": np.array([{}, None], dtype=object)}))
    with pytest.raises(InputError, match="'O8'"):
        read_arrays(path)


def test_a_stand_in_cannot_be_changed_by_a_pickle(tmp_path):
    """BUILD on the name itself, not on an instance: would set attributes of whatever the name stands for."""
    path = tmp_path / "build.pickle"
    path.write_bytes(b"\x80\x02cnumpy\nndarray\nN}X\x05\x00\x00\x00arrayK\x01s\x86b.")
    with pytest.raises(InputError):
        read_arrays(path)
    good = tmp_path / "good.pickle"
    good.write_bytes(pickle.dumps(ARRAYS))
    assert np.array_equal(read_arrays(good)["bytes"], ARRAYS["bytes"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (pickle.dumps(ARRAYS)[:-20], "cut short"),
        (b"", "cut short"),
        (b"not a pickle", "damaged"),
        (pickle.dumps([1, 2]), "a list in place of a dictionary"),
        (b"}X\x01\x00\x00\x00acnumpy\nndarray\n)Rs.", "an array without content"),
    ],
)
def test_what_is_no_dictionary_of_arrays_is_refused(tmp_path, content, message):
    path = tmp_path / "broken.pickle"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_arrays(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"none\.pickle, came: No such file"):
        read_arrays(tmp_path / "none.pickle")
