"""Recorded sessions for tests: a disc moves over tissue, two fake models find it, and the store writes them."""

from pathlib import Path

import av
from fakes import FUSION, RATE_HZ, SIZE, picture, pipeline_of

from realtime_polyp.config import PipelineConfig
from realtime_polyp.packets import Frame, Result
from realtime_polyp.recording import filter_settings
from realtime_polyp.recording.store import SessionStore

CONFIG = PipelineConfig(fusion=FUSION, hflip=False)


def write_source(path: Path, count: int) -> Path:
    """A video of the pictures, losslessly coded, with a key picture every ten."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264rgb", rate=RATE_HZ, options={"qp": "0", "g": "10", "bf": "2"})
        stream.width, stream.height, stream.pix_fmt = *SIZE, "rgb24"
        for index in range(count):
            frame = av.VideoFrame.from_ndarray(picture(index), format="rgb24")
            frame.pts = index
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def results_for(indices: range, config: PipelineConfig = CONFIG, *, seek_at: int | None = None) -> list[Result]:
    """The results of the pictures; seek_at: index of the picture before which the source is left and entered again."""
    pipeline, results = pipeline_of(config=config), []
    for index in indices:
        if index == seek_at:
            pipeline.seek()
        continues = index not in (indices[0], seek_at)
        results += pipeline.analyse([Frame(index, index / RATE_HZ, 0.0, picture(index), continues=continues)])
    return results


def record(
    folder: Path,
    results: list[Result],
    *,
    source: Path | None = None,
    config: PipelineConfig = CONFIG,
    seek_at: int | None = None,
    ended: bool = True,
    stills: bool = False,
) -> Path:
    """A session of these results in a new folder."""
    folder.mkdir(parents=True)
    store = SessionStore(folder)
    store.set_fact(filter_settings.FACT, filter_settings.to_fact(filter_settings.settings_of(config)))
    store.set_fact("models", {"detector": "fake", "segmenter": "fake"})
    path = {"path": str(source), "size_bytes": source.stat().st_size} if source else {"path": None}
    store.set_fact(
        "source", {"name": source.name if source else "fake", "rate_hz": str(RATE_HZ), "stills": stills, **path}
    )
    for result in results:
        time_s = result.frame.pts_s
        if result.frame.index == seek_at:
            store.add_event("seek", session_s=time_s - 1 / RATE_HZ, to_s=time_s)
        store.add_result(result, session_s=time_s, picture_s=time_s if source else None)
    store.commit()
    if ended:
        store.set_fact("ended", True)
    store.close()
    return folder
