"""How combed the pictures of videos are, as stored and as shown, and what de-interlacing costs at 1080 lines.

python -m realtime_polyp.bench.deinterlacing VIDEO ...
"""

import sys
import time
from pathlib import Path

import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from realtime_polyp.field_of_view import Image
from realtime_polyp.sources import FileSource
from realtime_polyp.sources.base import SourceError
from realtime_polyp.sources.deinterlace import Deinterlacer, Mode
from realtime_polyp.sources.opening import open_file

_HD = (1920, 1080)
_TIMED, _ROUNDS = 12, 20
_LEVELS = 9  # as FFmpeg's fieldmatch has it


def combed_share(image: Image) -> float:
    """Return the share of combed pixels, 0..1, by the measure of FFmpeg's `fieldmatch` on the green channel.

    A combed pixel is brighter, or darker, than both its neighbours above and below, and differs more from them than
    from the next lines of its own field.
    """
    green = image[..., 1].astype(np.int32)
    above2, above, line, below, below2 = (green[first : len(green) - 4 + first] for first in range(5))
    over, under = line - above, line - below
    stands_out = (np.minimum(over, under) > _LEVELS) | (np.maximum(over, under) < -_LEVELS)
    combed: NDArray[np.bool_] = stands_out & (np.abs(above2 + 4 * line + below2 - 3 * (above + below)) > 6 * _LEVELS)
    return float(combed.mean())


def mean_combed_share(video: Path, mode: Mode) -> float:
    """Return the mean over all frames of a video."""
    return float(np.mean([combed_share(frame.image) for frame in FileSource(video, deinterlace=mode).frames()]))


def time_1080i_ms(video: Path) -> float:
    """Return what a picture of 1080 lines takes on one core, ms: the processor's time, the best of twenty rounds.

    The pictures are the video's first ones, side by side until they fill a larger one.
    """
    pictures = [_tile(picture) for picture in _first_pictures(video)]
    deinterlace, rounds_ms = Deinterlacer(), []
    for _ in range(_ROUNDS):
        since_s = time.thread_time()
        for picture in pictures:
            deinterlace(picture)
        rounds_ms.append((time.thread_time() - since_s) / len(pictures) * 1e3)
    return min(rounds_ms)


def _first_pictures(video: Path) -> list[VideoFrame]:
    with open_file(video) as container:
        return [picture for picture, _ in zip(container.decode(video=0), range(_TIMED), strict=False)]


def _tile(picture: VideoFrame) -> VideoFrame:
    planar = picture.reformat(format="yuv420p")
    luma = np.frombuffer(planar.planes[0], np.uint8).reshape(-1, planar.planes[0].line_size)[:, : planar.width]  # type: ignore[call-overload]
    (width, height), (rows, columns) = _HD, (-(-_HD[1] // planar.height), -(-_HD[0] // planar.width))
    tiled = np.tile(luma[: planar.height // 2 * 2], (rows + 1, columns))[:height, :width]
    return VideoFrame.from_ndarray(np.vstack([tiled, np.full((height // 2, width), 128, np.uint8)]), format="yuv420p")


def main(videos: list[str]) -> int:
    """Print a line for each video; returns the exit code."""
    if not videos:
        print(f"usage: {__spec__.name if __spec__ else __file__} VIDEO ...", file=sys.stderr)
        return 2
    for video in map(Path, videos):
        try:
            stored, shown = (100 * mean_combed_share(video, mode) for mode in ("off", "auto"))
            print(f"{video.name}: combed {stored:.2f} % stored, {shown:.2f} % shown, {time_1080i_ms(video):.2f} ms")
        except SourceError as error:
            print(f"deinterlacing: {error}", file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
