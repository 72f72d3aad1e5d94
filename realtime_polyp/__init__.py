"""Find and outline polyps in colonoscopy video. Research use only; not a medical device.

for result in realtime_polyp.analyse("video.mp4"):
    for track in result.visible:
        print(result.frame.pts_s, track.id, track.box, track.score)
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from realtime_polyp.privacy import block_telemetry

if TYPE_CHECKING:
    from realtime_polyp.config import PipelineConfig
    from realtime_polyp.notebook import to_dataframe, to_rows
    from realtime_polyp.packets import RawResult, Result
    from realtime_polyp.pipeline import Analyzer, Pipeline
    from realtime_polyp.runtime import Runtime, RuntimeConfig, analyse, open_runtime
    from realtime_polyp.temporal.filter import TemporalFilter

__all__ = [
    "Analyzer",
    "Pipeline",
    "PipelineConfig",
    "RawResult",
    "Result",
    "Runtime",
    "RuntimeConfig",
    "TemporalFilter",
    "analyse",
    "open_runtime",
    "to_dataframe",
    "to_rows",
]

block_telemetry()  # here, as every module of the package is imported after this one

# Loaded on first use: the models, for example, can then be imported without the line that runs them.
_MODULES = {
    "Analyzer": "pipeline",
    "Pipeline": "pipeline",
    "PipelineConfig": "config",
    "RawResult": "packets",
    "Result": "packets",
    "Runtime": "runtime",
    "RuntimeConfig": "runtime",
    "TemporalFilter": "temporal.filter",
    "analyse": "runtime",
    "open_runtime": "runtime",
    "to_dataframe": "notebook",
    "to_rows": "notebook",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
