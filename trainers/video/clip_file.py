"""Writes a clip as a video file. It must lie outside the repository, because its pixels come from the data set."""

from pathlib import Path

import av
from av.video.frame import VideoFrame

from realtime_polyp.metrics.truth import write_truth
from trainers.video.synthetic.compression import BT709, LIMITED
from trainers.video.synthetic.prediction_cache import read_cached_truth, read_stream

_ROOT = Path(__file__).resolve().parents[2]


def check_outside(folder: Path) -> None:
    """Raise ValueError for a folder inside the repository."""
    if folder.resolve().is_relative_to(_ROOT):
        raise ValueError(f"{folder} lies inside the repository, which must not hold pixels of the data: choose another")


def write_clip(cached: Path, folder: Path) -> Path:
    """Write a cached clip as an mp4 with its ground truth beside it, both named after the clip; return the mp4's path.

    The frames are those that the models saw, encoded once more, and the dropped ones.
    """
    truth = read_cached_truth(cached)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{truth.name}.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=truth.rate_hz, options={"preset": "veryfast", "crf": "18"})
        stream.width, stream.height = truth.size
        stream.pix_fmt = "yuv420p"
        stream.codec_context.colorspace, stream.codec_context.color_range = BT709, LIMITED
        for compressed in read_stream(cached):
            frame = VideoFrame.from_ndarray(compressed.image, format="rgb24")
            converted = frame.reformat(format="yuv420p", dst_colorspace=BT709, dst_color_range=LIMITED)
            container.mux(stream.encode(converted))
        container.mux(stream.encode())
    write_truth(truth, path.with_suffix(".json"), video=path.name)
    return path
