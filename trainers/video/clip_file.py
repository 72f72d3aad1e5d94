"""A clip as a video file to look at: outside the repository, because its pixels are the data set's."""

from pathlib import Path

import av
from av.video.frame import VideoFrame

from realtime_polyp.metrics.truth import write_truth
from trainers.video.synthetic.compression import BT709, LIMITED
from trainers.video.synthetic.prediction_cache import stream_of, truth_of

_ROOT = Path(__file__).resolve().parents[2]


def check_outside(folder: Path) -> None:
    """Raises ValueError for a folder inside the repository."""
    if folder.resolve().is_relative_to(_ROOT):
        raise ValueError(f"{folder} lies inside the repository, which must not hold pixels of the data: choose another")


def write_clip(kept: Path, folder: Path) -> Path:
    """A remembered clip as an mp4, with its truth beside it; both under the clip's name. What the models were asked
    about, encoded once more; dropped frames are in it."""
    truth = truth_of(kept)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{truth.name}.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=truth.rate_hz, options={"preset": "veryfast", "crf": "18"})
        stream.width, stream.height = truth.size
        stream.pix_fmt = "yuv420p"
        stream.codec_context.colorspace, stream.codec_context.color_range = BT709, LIMITED
        for coded in stream_of(kept):
            frame = VideoFrame.from_ndarray(coded.image, format="rgb24")
            converted = frame.reformat(format="yuv420p", dst_colorspace=BT709, dst_color_range=LIMITED)
            container.mux(stream.encode(converted))
        container.mux(stream.encode())
    write_truth(truth, path.with_suffix(".json"), video=path.name)
    return path
