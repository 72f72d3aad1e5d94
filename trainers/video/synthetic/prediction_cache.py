"""Cache of model outputs for synthetic clips, so that what follows the models can be tried in seconds.

Each clip has a folder in this machine's cache, outside any repository: its H.264 stream, both models' raw outputs and
the ground truth. The pixels come from the data set, whose licence holds for them.
"""

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from realtime_polyp import field_of_view
from realtime_polyp.array_files import read_arrays
from realtime_polyp.field_of_view import FieldOfView
from realtime_polyp.folders import cache_folder
from realtime_polyp.inference.base import Inference
from realtime_polyp.metrics.truth import VideoTruth, read_truth, write_truth
from realtime_polyp.packets import Detections, Frame, Mask, RawResult
from realtime_polyp.postprocess import nms
from realtime_polyp.preprocess import field_finder, letterbox
from trainers.data.stills import Still
from trainers.video.synthetic.clip import ClipSource
from trainers.video.synthetic.compression import CompressedFrame, Decoder
from trainers.video.synthetic.replay import CachedFrame, analyse_frames

_FORMAT = 3
_DRAWING_MODULES = (
    "camera",
    "clip",
    "compression",
    "conditions",
    "ground_truth",
    "random_curves",
    "render",
    "scene",
    "scope",
    "tissue",
)
_READING_MODULES = (field_of_view, field_finder, letterbox, nms)  # between a picture and the models' boxes and masks
_OUTPUTS, _STREAM, _TRUTH, _VIDEO = "outputs.npz", "stream.h264", "truth.json", "clip.mp4"


def clip_folder(stills: Sequence[Still], *, seed: int, number: int, seconds: float, keys: Sequence[str]) -> Path:
    """Return the cache folder of a clip. It depends on the stills, the models and the code that draws and reads clips.

    keys: the engines' keys.
    """
    digest = hashlib.sha256()
    read_by = [Path(str(module.__file__)) for module in _READING_MODULES]
    for path in (*(Path(__file__).parent / f"{name}.py" for name in _DRAWING_MODULES), *read_by):
        digest.update(path.read_bytes())
    for part in (f"{_FORMAT}", *keys, f"{seconds:g}", *(_state_of(still) for still in stills)):
        digest.update(part.encode() + b"\0")
    return cache_folder() / "clips" / f"seed{seed}-clip{number}-{digest.hexdigest()[:12]}"


def _state_of(still: Still) -> str:
    """What tells a still from the same one after a correction: its files, their sizes and times, and its boxes."""
    files = []
    for path in (still.image_path, still.mask_path):
        status = path.stat()
        files.append(f"{path.parent.resolve()}/{path.name} {status.st_size} {status.st_mtime_ns}")
    return f"{' '.join(files)} {still.boxes.tolist()}"


def is_cached(folder: Path) -> bool:
    """Whether the folder holds a complete clip."""
    return (folder / _TRUTH).is_file()


def cache_predictions(source: ClipSource, inference: Inference, folder: Path) -> None:
    """Draw a clip, run the models on it and write everything to the folder.

    The folder appears only when it is complete. Dropped frames are drawn and compressed, but not analysed.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".making-") as temporary:
        unfinished = Path(temporary) / "clip"
        unfinished.mkdir()
        lengths: list[int] = []
        with (unfinished / _STREAM).open("wb") as stream:

            def draw_frames() -> Iterator[Frame]:
                shown = tqdm(
                    source.compressed(), total=source.frames_total, desc=source.name, unit="frame", leave=False
                )
                for index, compressed in enumerate(shown):
                    stream.write(compressed.packet)
                    lengths.append(len(compressed.packet))
                    if index not in source.clip.dropped:
                        yield Frame(index, float(index / source.clip.rate_hz), 0.0, compressed.image)

            rows = [
                _to_row(raw, hflip=hflip)
                for outputs in analyse_frames(draw_frames(), inference)
                for hflip, raw in enumerate(outputs)
                if raw is not None
            ]
        _write_outputs(unfinished / _OUTPUTS, rows, lengths)
        write_truth(source.truth(), unfinished / _TRUTH, video=_VIDEO)
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(unfinished, folder)


def read_cached_frames(folder: Path, *, images: bool = True) -> Iterator[CachedFrame]:
    """Yield every frame that the models saw, in order.

    images: False leaves the images black, which is several times as fast.

    Raises:
        FileNotFoundError: nothing is cached there.
    """
    truth = read_truth(folder / _TRUTH)
    with _explain_damage(folder):
        outputs = _read_outputs(read_arrays(folder / _OUTPUTS))
    black = np.zeros((truth.size[1], truth.size[0], 3), np.uint8)
    decoded = (compressed.image for compressed in read_stream(folder)) if images else None
    for index, true in enumerate(truth.frames):
        image = next(decoded) if decoded else black
        frame = Frame(index, truth.pts_s(index), 0.0, image)
        plain, flipped = outputs.get((index, False)), outputs.get((index, True))
        if plain is not None:
            flipped_result = None if flipped is None else replace(flipped, frame=frame)
            yield CachedFrame(replace(plain, frame=frame), flipped_result, true)


def read_cached_truth(folder: Path) -> VideoTruth:
    """Read the ground truth of a cached clip, named after the folder."""
    return replace(read_truth(folder / _TRUTH), name=folder.name)


def read_stream(folder: Path) -> Iterator[CompressedFrame]:
    """Yield every frame of a cached clip, dropped ones included."""
    with _explain_damage(folder):
        lengths = read_arrays(folder / _OUTPUTS, "lengths")["lengths"]
    decoder = Decoder()
    with (folder / _STREAM).open("rb") as stream:
        for length in lengths:
            packet = stream.read(int(length))
            yield CompressedFrame(packet, decoder(packet))


@contextlib.contextmanager
def _explain_damage(folder: Path) -> Iterator[None]:
    """Say of a damaged file how to repair it."""
    try:
        yield
    except (ValueError, LookupError) as error:
        raise ValueError(f"{folder / _OUTPUTS} is damaged: delete {folder}, and the clip is made again") from error


# The outputs' file: one array per column, one row per frame and orientation. Boxes and masks of all rows are
# concatenated, because their numbers and sizes differ. Masks are stored in steps of 1 / 255.


def _to_row(raw: RawResult, *, hflip: int) -> tuple[Any, ...]:
    """Reduce a raw result to what is stored, without its image."""
    mask = np.zeros((0, 0), np.uint8) if raw.mask is None else np.round(255 * raw.mask.probability).astype(np.uint8)
    detections = raw.detections
    return raw.frame.index, hflip, raw.signal, raw.field_of_view.box, detections.boxes, detections.scores, mask


def _write_outputs(path: Path, rows: Sequence[tuple[Any, ...]], lengths: Sequence[int]) -> None:
    """lengths: bytes of each frame in the stream, dropped frames included."""
    indices, hflips, signals, fields, boxes, scores, masks = zip(*rows, strict=True)
    np.savez_compressed(
        path,
        lengths=np.array(lengths),
        index=np.array(indices),
        hflip=np.array(hflips, bool),
        signal=np.array(signals),
        field_of_view=np.array(fields),
        count=np.array([len(one) for one in scores]),
        boxes=np.concatenate(boxes),
        scores=np.concatenate(scores),
        mask_shape=np.array([one.shape for one in masks]),
        masks=np.concatenate([one.ravel() for one in masks]),
    )


def _read_outputs(columns: dict[str, NDArray[Any]]) -> dict[tuple[int, bool], RawResult]:
    """Return the raw results by frame index and orientation. Their frames hold no image yet."""
    box_ends, mask_ends = np.cumsum(columns["count"]), np.cumsum(columns["mask_shape"].prod(axis=1))
    outputs = {}
    for row, (index, hflip) in enumerate(zip(columns["index"], columns["hflip"], strict=True)):
        field = FieldOfView(*(int(side) for side in columns["field_of_view"][row]))
        boxes = slice(box_ends[row] - columns["count"][row], box_ends[row])
        shape = columns["mask_shape"][row]
        levels = columns["masks"][mask_ends[row] - shape.prod() : mask_ends[row]].reshape(shape)
        outputs[int(index), bool(hflip)] = RawResult(
            frame=_NO_FRAME,
            field_of_view=field,
            signal=str(columns["signal"][row]),  # type: ignore[arg-type]
            detections=Detections(columns["boxes"][boxes], columns["scores"][boxes]),
            mask=Mask(np.asarray(levels.astype(np.float32) / 255, np.float32), field) if levels.size else None,
        )
    return outputs


_NO_FRAME = Frame(-1, 0.0, 0.0, np.zeros((0, 0, 3), np.uint8))
