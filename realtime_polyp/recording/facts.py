"""What is known about a session when it begins: table `facts` of its file (docs/session_format.md)."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from realtime_polyp.config import PipelineConfig
from realtime_polyp.engines.base import Engine, EngineError
from realtime_polyp.engines.weights import find_weights
from realtime_polyp.messages import printable
from realtime_polyp.pipeline import Pipeline
from realtime_polyp.recording import filter_settings
from realtime_polyp.recording.chain import utc_now
from realtime_polyp.sources.base import Source
from realtime_polyp.sources.capture import CaptureSource
from realtime_polyp.sources.deinterlace import Mode
from realtime_polyp.sources.file import FileSource
from realtime_polyp.sources.images import ImageFolderSource
from realtime_polyp.sources.network import NetworkSource
from realtime_polyp.sources.reconnecting import inner
from realtime_polyp.telemetry.summary import versions

Facts = dict[str, Any]


def source_file(text: str, source: Source) -> Path | None:
    """The video file that a source reads, as an absolute path; None for anything else, and for a playlist, whose
    pictures lie elsewhere. text: what the user typed."""
    opened = inner(source)
    if isinstance(opened, FileSource) and opened.is_playlist:
        return None
    try:
        path = Path(text)
        return path.resolve() if path.is_file() else None
    except (OSError, ValueError):  # an address that is no path
        return None


def describe_session(text: str, source: Source, pipeline: Pipeline, *, start_s: float = 0.0) -> Facts:
    """All facts at the start of a session, as JSON types. text: what the user typed. start_s: where the source begins.

    No path of this machine is among them but that of the source.
    """
    detector, segmenter = pipeline.detector, pipeline.segmenter
    engines = {"detector": detector, "segmenter": segmenter}
    return {
        "start_utc": utc_now(),
        "source": _describe_source(text, source, start_s),
        "models": {task: engine.model if engine else None for task, engine in engines.items()},
        "engines": {task: describe_engine(engine) for task, engine in engines.items() if engine},
        "pipeline": to_json(pipeline.config),
        filter_settings.FACT: filter_settings.to_fact(filter_settings.settings_of(pipeline.config)),
        "versions": versions(),
    }


def states_of(config: PipelineConfig) -> Facts:
    """What a person can change while a session is recorded: `SessionRecorder`'s states."""
    times = config.temporal
    states: Facts = {"threshold": round(config.score_threshold, 4)}
    return states | ({"confirm_s": times.confirm_s, "hold_s": times.hold_s} if times else {})


def _describe_source(text: str, source: Source, start_s: float) -> Facts:
    path, (width, height) = source_file(text, source), source.size
    size: Facts = {"path": None, "size_bytes": None}
    if path:
        named = str(path).encode("utf-8", "backslashreplace").decode()  # JSON holds no name that is not UTF-8
        size = {"path": named, "size_bytes": path.stat().st_size}
    return {
        "name": printable(source.name),
        **size,
        "live": source.live,
        "stills": is_of_stills(source),
        "width": width,
        "height": height,
        "rate_hz": str(source.rate_hz) if source.rate_hz else None,
        "duration_s": source.duration_s,
        "decoder": source.decoder,
        "deinterlace": deinterlace_of(source),
        "start_s": start_s,
    }


def is_of_stills(source: Source) -> bool:
    """Whether a source's pictures do not continue each other, so that nothing is filtered over time."""
    opened = inner(source)
    return isinstance(opened, ImageFolderSource) and not opened.is_video


def deinterlace_of(source: Source) -> Mode:
    """How a source's interlaced pictures are shown."""
    opened = inner(source)
    return opened.deinterlace if isinstance(opened, FileSource | NetworkSource | CaptureSource) else "auto"


def describe_engine(engine: Engine) -> Facts:
    """The engine and the checksums of the weights that it was built from."""
    try:
        weights = find_weights(engine.model)
        files = {name: weights.checksums[name] for name in weights.files.values()}
    except (EngineError, KeyError):  # weights that are not of the manifest
        files = {}
    return {
        "model": engine.model,
        "engine": engine.name,
        "device": engine.device,
        "key": engine.key,
        "sha256": files,
    }


def to_json(value: Any) -> Any:
    """Convert a configuration to JSON types: dataclasses to objects, arrays to lists, paths to their last part."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {one.name: to_json(getattr(value, one.name)) for one in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): to_json(one) for key, one in value.items()}
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Path):
        return value.name
    if isinstance(value, list | tuple | set | frozenset):
        return [to_json(one) for one in value]
    return value if value is None or isinstance(value, bool | int | float | str) else repr(value)
