"""Messages between processes."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

from equipoise.serve.pipe import LARGE_BYTES, channel

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
    here, there = channel()
    for keep in (False, True):
        sender = threading.Thread(target=here.send, args=((3, {"x": array, "again": array, "y": LARGE}),))
        sender.start()
        place, found = there.receive(keep=keep)
        sender.join()
        assert place == 3
        require_equal(found, array)
    here.send((4, {"y": LARGE + 1}))  # kept arrays are the receiver's own, whatever is sent after them
    there.receive(keep=True)
    require_equal(found, array)
    here.close()
    there.close()


def require_equal(found: dict[str, Any], array: Any) -> None:
    for name in ("x", "again"):
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype
    np.testing.assert_array_equal(found["y"], LARGE)


def test_who_waits_for_nobody_is_told() -> None:
    here, there = channel()
    here.close()
    with pytest.raises(EOFError):
        there.receive(keep=True)
    with pytest.raises(OSError, match="Broken pipe"):
        there.send(LARGE)
    there.close()
