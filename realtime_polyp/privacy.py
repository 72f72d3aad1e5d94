"""Blocks the telemetry of dependencies before they are imported, so that no data leaves the machine.

OpenVINO and NNCF report each import to a web analytics service with a persistent client id, and Albumentations asks a
package index for its newest version. `realtime_polyp/__init__.py` calls `block_telemetry`, so it takes effect in every
command, worker process and program that imports the package.
"""

import os
import sys

# Libraries read these at import. Some of them are installed only with the extra packages for a GPU.
SETTINGS = {
    "NO_ALBUMENTATIONS_UPDATE": "1",  # a request to a package index at each import
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
}
_TELEMETRY = "openvino_telemetry"


def block_telemetry() -> None:
    """Keep OpenVINO, NNCF and Albumentations from sending data. Child processes inherit the environment variables.

    OpenVINO and NNCF use their own stubs when `openvino_telemetry` cannot be imported. If a program has imported it
    already, its sender is replaced, so that nothing more is sent.
    """
    os.environ.update(SETTINGS)
    if sys.modules.get(_TELEMETRY) is None:
        sys.modules[_TELEMETRY] = None  # type: ignore[assignment]  # Python: the import raises ModuleNotFoundError
    elif sender := getattr(sys.modules.get(f"{_TELEMETRY}.utils.sender"), "TelemetrySender", None):
        sender.send = _send_nothing


def _send_nothing(*_: object) -> None:
    """Replace `TelemetrySender.send`."""
