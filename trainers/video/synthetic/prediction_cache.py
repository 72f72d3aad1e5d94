"""What the models said of every frame of a clip, kept so that what comes after the models can be tried in seconds.

A folder a clip in this machine's cache, outside any repository: its H.264 stream, the models' raw answers from a low
score on, and the truth. The pixels are the data set's, and its licence holds for them.
"""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from realtime_polyp.config import PipelineConfig
from realtime_polyp.engines.base import DetectorEngine, SegmenterEngine
from realtime_polyp.engines.gate import cache_folder
from realtime_polyp.field_of_view import FieldOfView, Image
from realtime_polyp.metrics.truth import TrueFrame, VideoTruth, read_truth, write_truth
from realtime_polyp.packets import Detections, Frame, Mask, Result, Signal
from realtime_polyp.pipeline import Pipeline
from trainers.data.stills import Still
from trainers.video.synthetic.compression import Coded, Decoder
from trainers.video.synthetic.source import ClipSource

_FORMAT = 2  # of what is kept
FLOOR = 0.05  # of the detector's own score; weaker candidates are not kept
UNSTEADIED = PipelineConfig(score_threshold=FLOOR, weak_threshold=FLOOR, temporal=None)
MIRRORED = replace(UNSTEADIED, hflip=True)
_DRAWING = ("camera", "chance", "clip", "compression", "conditions", "render", "scene", "scope", "seen", "tissue")
_ANSWERS, _STREAM, _TRUTH, _VIDEO = "answers.npz", "stream.h264", "truth.json", "clip.mp4"


@dataclass(frozen=True)
class Said:
    """What the models said of a picture. detections: from FLOOR on, uncalibrated, after NMS. mask: in steps of
    1 / 255."""

    detections: Detections
    mask: Mask | None


@dataclass(frozen=True)
class Remembered:
    """One frame: what the models said, and what is true. hflip: of its mirror image, turned back; None where
    the line would not ask. image: (H, W, 3) RGB exactly as the models saw it; black where pictures are left out."""

    index: int
    pts_s: float
    field_of_view: FieldOfView
    signal: Signal
    said: Said
    hflip: Said | None
    image: Image
    true: TrueFrame

    def answer(self, config: PipelineConfig) -> Said:
        """What the line so set would have heard."""
        return self.hflip if config.hflip and self.hflip else self.said


# To keep


def clip_folder(stills: Sequence[Still], *, seed: int, number: int, seconds: float, keys: Sequence[str]) -> Path:
    """Where a clip's answers lie: elsewhere for other stills, other models (their keys) or another way of drawing."""
    digest = hashlib.sha256()
    for name in _DRAWING:
        digest.update((Path(__file__).parent / f"{name}.py").read_bytes())
    for part in (
        f"{_FORMAT}",
        *keys,
        f"{seconds:g}",
        *(f"{still.image_path.parent}/{still.image_path.name}" for still in stills),
    ):
        digest.update(part.encode() + b"\0")
    return cache_folder() / "clips" / f"seed{seed}-clip{number}-{digest.hexdigest()[:12]}"


def is_remembered(folder: Path) -> bool:
    return (folder / _TRUTH).is_file()


def remember(source: ClipSource, detector: DetectorEngine, segmenter: SegmenterEngine, folder: Path) -> None:
    """Draw the clip, ask the models, keep all of it; the folder appears when it is complete. Dropped frames are drawn
    and compressed, and not asked about."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".making-") as made:
        made_in = Path(made) / "clip"
        made_in.mkdir()
        answers, lengths = _Answers(), []
        line, mirror = (Pipeline(detector, segmenter, config) for config in (UNSTEADIED, MIRRORED))
        with (made_in / _STREAM).open("wb") as stream:
            shown = tqdm(source.coded(), total=source.frames_total, desc=source.name, unit="frame", leave=False)
            for index, coded in enumerate(shown):
                stream.write(coded.packet)
                lengths.append(len(coded.packet))
                if index not in source.clip.dropped:
                    frame = Frame(index, float(index / source.clip.rate_hz), 0.0, coded.image)
                    # Both see every frame: where the field lies is told by those before, too.
                    plain, hflip = line.analyse([frame])[0], mirror.analyse([frame])[0]
                    answers.add(plain, hflip if MIRRORED.flips(frame) else None)
        answers.save(made_in / _ANSWERS, np.array(lengths))
        write_truth(source.truth(), made_in / _TRUTH, video=_VIDEO)
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(made_in, folder)


class _Answers:
    """Results as columns of one file, a row of two where the mirror image was asked about too; masks of a field's size,
    so that their lengths differ."""

    def __init__(self) -> None:
        self._rows: list[tuple[Any, ...]] = []

    def add(self, result: Result, hflip: Result | None) -> None:
        frame, signal, field = result.frame, result.signal, result.field_of_view
        for turned, one in enumerate((result, hflip)):
            if one is not None:
                mask = None if one.mask is None else np.round(255 * one.mask.probability).astype(np.uint8)
                found = one.detections
                self._rows.append((frame.index, turned, signal, field.box, found.boxes, found.scores, mask))

    def save(self, path: Path, lengths: NDArray[np.int64]) -> None:
        indices, turned, signals, fields, boxes, scores, masks = zip(*self._rows, strict=True)
        flat = [np.zeros((0, 0), np.uint8) if mask is None else mask for mask in masks]
        np.savez_compressed(
            path,
            lengths=lengths,
            index=np.array(indices),
            turned=np.array(turned, bool),
            signal=np.array(signals),
            field=np.array(fields),
            count=np.array([len(one) for one in scores]),
            boxes=np.concatenate(boxes),
            scores=np.concatenate(scores),
            mask_shape=np.array([one.shape for one in flat]),
            masks=np.concatenate([one.ravel() for one in flat]),
        )


# To use again


def replay(folder: Path, *, pictures: bool = True) -> Iterator[Remembered]:
    """Every frame that was asked about, in order. pictures: False leaves them black, which is several times as quick.

    Raises FileNotFoundError where nothing is kept.
    """
    truth = read_truth(folder / _TRUTH)
    with np.load(folder / _ANSWERS) as content:
        kept = dict(content)
    black = np.zeros((truth.size[1], truth.size[0], 3), np.uint8)
    images = (coded.image for coded in stream_of(folder)) if pictures else None
    rows = {(row.index, row.turned): row for row in _rows(kept)}
    for index, true in enumerate(truth.frames):
        image = next(images) if images else black
        plain, hflip = rows.get((index, False)), rows.get((index, True))
        if plain is not None:
            turned = hflip.said if hflip else None
            yield Remembered(
                index, truth.pts_s(index), plain.field_of_view, plain.signal, plain.said, turned, image, true
            )


def truth_of(folder: Path) -> VideoTruth:
    return replace(read_truth(folder / _TRUTH), name=folder.name)


def stream_of(folder: Path) -> Iterator[Coded]:
    """Every picture of the clip, dropped ones too."""
    with np.load(folder / _ANSWERS) as content:
        lengths = content["lengths"]
    decoder = Decoder()
    with (folder / _STREAM).open("rb") as stream:
        for length in lengths:
            packet = stream.read(int(length))
            yield Coded(packet, decoder(packet))


@dataclass(frozen=True)
class _Row:
    index: int
    turned: bool
    field_of_view: FieldOfView
    signal: Signal
    said: Said


def _rows(kept: dict[str, NDArray[Any]]) -> Iterator[_Row]:
    box_ends, mask_ends = np.cumsum(kept["count"]), np.cumsum(kept["mask_shape"].prod(axis=1))
    for place, index in enumerate(kept["index"]):
        field = FieldOfView(*(int(side) for side in kept["field"][place]))
        boxes = slice(box_ends[place] - kept["count"][place], box_ends[place])
        shape = kept["mask_shape"][place]
        levels = kept["masks"][mask_ends[place] - shape.prod() : mask_ends[place]].reshape(shape)
        mask = Mask(levels.astype(np.float32) / 255, field) if levels.size else None
        said = Said(Detections(kept["boxes"][boxes], kept["scores"][boxes]), mask)
        yield _Row(int(index), bool(kept["turned"][place]), field, str(kept["signal"][place]), said)  # type: ignore[arg-type]
