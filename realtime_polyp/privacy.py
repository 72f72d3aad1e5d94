"""Nothing leaves the machine: what the dependencies would send about themselves is blocked before they are imported.

OpenVINO and NNCF report each import to a web analytics service with a lasting client id, and Albumentations asks a
package index for its newest version. Importing this module costs nothing, and `realtime_polyp/__init__.py` calls it, so
every command, worker process and library use passes it first.
"""

import os
import sys

# Libraries read these at import. Those that are not installed by default may come with the extra packages of a GPU.
SETTINGS = {
    "NO_ALBUMENTATIONS_UPDATE": "1",  # a request to a package index at each import
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
}
_TELEMETRY = "openvino_telemetry"


def block_telemetry() -> None:
    """Keep OpenVINO, NNCF and Albumentations from sending anything. Child processes inherit it.

    OpenVINO and NNCF use their own stubs when `openvino_telemetry` cannot be imported. Where a program has imported it
    already, its sender is replaced, so that nothing follows what that import has sent.
    """
    os.environ.update(SETTINGS)
    if sys.modules.get(_TELEMETRY) is None:
        sys.modules[_TELEMETRY] = None  # type: ignore[assignment]  # Python: the import raises ModuleNotFoundError
    elif sender := getattr(sys.modules.get(f"{_TELEMETRY}.utils.sender"), "TelemetrySender", None):
        sender.send = _send_nothing


def _send_nothing(*_: object) -> None:
    """Take the place of `TelemetrySender.send`."""
