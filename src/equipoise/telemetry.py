"""Keeps the libraries we stand on from reporting home."""

from __future__ import annotations

import os
import sys


def silence() -> None:
    """Make ONNX Runtime, OpenVINO and NNCF unable to send usage data: call it before any of them is imported.

    ONNX Runtime (since 1.29, on Linux too) uploads its process, sessions and models to Microsoft and leaves a device id
    under `~/.cache/Microsoft`, unless `ORT_DISABLE_TELEMETRY=1` stands in the environment before its library starts.
    OpenVINO's tools and NNCF send through the package `openvino_telemetry`, which leaves a consent file and a client id
    in the home folder; where it cannot be imported both fall back to stubs of their own that do nothing, and a `None`
    in `sys.modules` makes it so.

    Child processes inherit the variable. Calling it again changes nothing.
    """
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    started = sys.modules.get("onnxruntime")
    if started is not None:  # too late for the variable: what is left is to stop further events
        started.disable_telemetry_events()
    for name in [name for name in sys.modules if name.split(".")[0] == "openvino_telemetry"]:
        del sys.modules[name]
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # Python's own mark: "do not import"
