"""Messages between processes."""

from __future__ import annotations

import threading
from multiprocessing import Pipe
from typing import Any

import numpy as np
import pytest

from equipoise.serve.pipe import LARGE_BYTES, receive, send

LARGE = np.arange(LARGE_BYTES, dtype=np.float64).reshape(-1, 8)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(3, dtype=np.uint8),
        np.empty((0, 4), np.float32),
        np.array(["a", None, "ü" * 9], dtype=object),
        LARGE,
        LARGE[::2],
        LARGE.T,
        np.asfortranarray(LARGE),
        LARGE[:, :0],
    ],
    ids=["small", "empty", "text", "large", "strided", "turned", "fortran", "no columns"],
)
def test_arrays_arrive_as_they_were(array: Any) -> None:
    here, there = Pipe()
    with here, there:
        sender = threading.Thread(target=send, args=(here, (3, {"x": array, "again": array, "y": LARGE})))
        sender.start()
        place, found = receive(there)
        sender.join()
    assert place == 3
    for name in ("x", "again"):
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype
    np.testing.assert_array_equal(found["y"], LARGE)
    found["y"][0] = 0  # it is the receiver's own
    assert LARGE[0, 1] == 1


def test_who_waits_for_nobody_is_told() -> None:
    here, there = Pipe()
    with there:
        here.close()
        with pytest.raises(EOFError):
            receive(there)
        with pytest.raises(OSError, match="Broken pipe"):
            send(there, LARGE)
