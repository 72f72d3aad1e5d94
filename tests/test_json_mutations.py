"""Mutated files: every reader refuses with its own error and the file's name, or gives values that are safe to use."""

import copy
import json
import random
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT

from realtime_polyp.engines import cache, gate, quantized
from realtime_polyp.engines.base import EngineError
from realtime_polyp.engines.weights import WEIGHTS_FOLDER, Weights, find_weights, read_manifest, sha256_of
from realtime_polyp.metrics.run_lengths import decode, encode
from realtime_polyp.metrics.truth import read_truth
from realtime_polyp.outputs.results_reader import read_results
from realtime_polyp.packets import FrameQuality
from realtime_polyp.postprocess.fusion import FusionError, read_fusion
from realtime_polyp.postprocess.score_calibration import CalibrationError, read_calibration
from realtime_polyp.temporal.frame_quality import FEATURES, QUALITY_FILE, Features, QualityError, read_frame_quality

COUNT = 100  # mutations a reader
SCORES = np.array([0, 1e-6, 0.3, 0.5, 0.9, 1], np.float32)
VALUES: list[Any] = [
    *(None, True, False, 0, 1, -1, 2**31, 2**63, 10**400, -(10**400), 1e-320, 1e308, 0.5, float("nan")),
    *(float("inf"), float("-inf"), "", "0", "a" * 10_000, "\ud800", "\0", "../../x", [], {}, [[]], [None], {"a": 1}),
    *([0] * 1000, {"size": [1 << 31, 1], "counts": "0"}),
]


def places(document: Any) -> Iterator[tuple[Any, Any]]:
    """Yield (container, key or index) of every value in a document."""
    pairs = document.items() if isinstance(document, dict) else enumerate(document)
    for key, value in list(pairs):
        yield document, key
        if isinstance(value, dict | list):
            yield from places(value)


def mutate(document: Any, chance: random.Random) -> bytes:
    """Return the document as JSON with one or two faults."""
    document = copy.deepcopy(document)
    for _ in range(chance.choice([1, 1, 2])):
        container, key = chance.choice(list(places(document)) or [([None], 0)])
        kind = chance.randrange(5)
        if kind == 0:
            del container[key]
        elif kind == 1:
            container[key] = [container[key]]
        elif kind == 2 and isinstance(container[key], dict | list) and container[key]:
            inner = list(places(container[key]))[0]
            inner[0][inner[1]] = copy.deepcopy(chance.choice(VALUES))
        else:
            container[key] = copy.deepcopy(chance.choice(VALUES))
    data = bytearray(json.dumps(document).encode())
    kind = chance.randrange(10)
    if kind == 0:
        del data[chance.randrange(len(data)) :]
    elif kind == 1:
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    elif kind == 2:
        data = bytearray(b"[" * 50_000) + data
    return bytes(data)


def read_calibrated(path: Path) -> None:
    found = read_calibration(path)
    for mapped in (found.apply(SCORES), found.apply_mask(SCORES)):
        assert ((mapped >= 0) & (mapped <= 1)).all() and (np.diff(mapped) >= 0).all()
    assert 0 <= found.score_threshold(0.3) <= 1 and 0 <= found.temporal_config().confirm_s <= 60


def read_fused(path: Path) -> None:
    found = read_fusion(path)
    if found.boxes:
        fused = found.boxes(SCORES, np.zeros(len(SCORES)))
        assert ((fused > 0) & (fused < 1)).all() and (np.diff(fused) >= 0).all()
    if found.masks:
        assert np.isfinite(found.masks(np.array([0.0, 17.0]))).all()


def read_quality(path: Path) -> None:
    quality: FrameQuality = read_frame_quality.__wrapped__(path).classify(Features(*[0.5] * len(FEATURES)))
    assert isinstance(quality, str)


def read_gate(path: Path) -> None:
    for key, record in gate.read_records(path.parent).items():
        assert record.key == key and isinstance(record.reasons, tuple) and record.passed == (record.reasons == ())


def read_list_of_weights(path: Path) -> None:
    for name in read_manifest(path.parent):
        find_weights(name, folder=path.parent).path("safetensors")


def read_ranges(path: Path) -> None:
    weights = Weights(
        "toy", "detector", (64, 96), path.parent, {"safetensors": "a", "ranges": path.name}, {"a": "0" * 64}
    )
    weights.checksums[path.name] = sha256_of(path)
    assert all(0 < value < 1e5 for value in quantized.read_ranges(weights).values())


def read_sidecar(path: Path) -> None:
    cache._check(path.with_suffix(".pt2"))


def read_video_truth(path: Path) -> None:
    for frame in read_truth(path).frames:
        assert all(decode(mask).shape == (30, 40) for mask in frame.masks.values())


def read_shown(path: Path) -> None:
    for frame in read_results(path):
        assert frame.boxes.shape == (len(frame.ids), 4)
        assert frame.mask is None or decode(frame.mask).ndim == 2


def mask() -> dict[str, Any]:
    pixels = np.zeros((30, 40), np.bool_)
    pixels[5:15, 8:20] = True
    return dict(encode(pixels))


def truth() -> dict[str, Any]:
    polyp = {"id": 3, "box": [8.0, 5.0, 20.0, 15.0], "mask": mask()}
    frames = [
        {"index": 0, "polyps": [polyp], "faint": [], "motion": [[1, 0, 2.5], [0, 1, 0]]},
        {"index": 1, "polyps": []},
    ]
    return {"video": {"file": "v.mp4", "width": 40, "height": 30, "fps": [30000, 1001], "frames": 2}, "frames": frames}


def result() -> dict[str, Any]:
    track = {"id": 2, "box": [8.0, 5.0, 20.0, 15.0], "score": 0.92, "state": "shown"}
    shared = {"detections": [{"box": [8.0, 5.0, 20.0, 15.0], "score": 0.9}], "tracks": [track], "mask": mask()}
    return {"format": 2, "index": 4, "pts_s": 0.13, "signal": "ok", "has_detector": True, **shared}


def gates() -> dict[str, Any]:
    shipped = json.loads((WEIGHTS_FOLDER / "gates.json").read_text())
    return {**shipped, "records": dict(list(shipped["records"].items())[:2])}


def shipped(path: Path) -> Any:
    return json.loads(path.read_text())


RANGES = {"format": 1, "weights": "0" * 64, "frames": 3, "largest": {"a": 1.0, "b": 2.5}}
READERS: dict[str, tuple[Callable[[Path], None], type[Exception], Callable[[], Any]]] = {
    "calibration.json": (read_calibrated, CalibrationError, lambda: shipped(ROOT / "assets" / "calibration.json")),
    "fusion.json": (read_fused, FusionError, lambda: shipped(ROOT / "assets" / "fusion.json")),
    "quality.json": (read_quality, QualityError, lambda: shipped(QUALITY_FILE)),
    "gates.json": (read_gate, EngineError, gates),
    "manifest.json": (read_list_of_weights, EngineError, lambda: shipped(WEIGHTS_FOLDER / "manifest.json")),
    "toy.ranges.json": (read_ranges, EngineError, lambda: RANGES),
    "engine.json": (read_sidecar, ValueError, lambda: {"sha256": "0" * 64, "model": "toy"}),
    "truth.json": (read_video_truth, ValueError, truth),
    "results.jsonl": (read_shown, ValueError, result),
}


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of pycocotools
@pytest.mark.parametrize("name", READERS)
def test_a_mutated_file_is_refused_in_one_sentence_or_safe(tmp_path: Path, name: str) -> None:
    read, expected, good = READERS[name]
    path, chance, refused = tmp_path / name, random.Random(name), 0
    path.with_suffix(".pt2").write_bytes(b"")
    for number in range(COUNT):
        data = mutate(good(), chance)
        path.write_bytes(data + b"\n")
        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)
            try:
                read(path)
            except expected as error:
                refused += 1
                assert type(error) is expected, (number, data[:300], error)
                said = str(error)
                harmless = name == "manifest.json" and "weights" in said or said == "checksum mismatch"
                assert name in said or "toy were measured" in said or harmless, (number, data[:300], said)
                assert len(said.splitlines()) == 1 and len(said) < 600, said
    assert refused > COUNT / 5


@pytest.mark.parametrize("name", [name for name in READERS if name not in ("engine.json", "manifest.json")])
def test_a_good_file_is_read(tmp_path: Path, name: str) -> None:
    read, _, good = READERS[name]
    (tmp_path / name).write_text(json.dumps(good()) + "\n")
    read(tmp_path / name)  # asserts that what it read gives finite numbers


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"reasons": ""}, "at `reasons`: expected `array`, got `str`"),
        ({"reasons": None}, "at `reasons`: expected `array`, got `null`"),
        ({"reasons": [1]}, r"at `reasons\[0\]`: expected `str`, got `int`"),
        ({"passed": True}, "object contains unknown field `passed`"),
        ({"key": "another"}, "its own key is 'another'"),
        ({"figures": {}}, "it has no figures"),
        ({"figures": []}, "at `figures`: expected `object`, got `array`"),
    ],
)
def test_a_gate_record_that_is_not_consistent_is_refused(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    content = gates()
    key = next(iter(content["records"]))
    content["records"][key] |= change
    (tmp_path / "gates.json").write_text(json.dumps(content))
    with pytest.raises(EngineError, match=f"record '{key}' in .*gates.json is not a gate record: .*{said}"):
        gate.read_records(tmp_path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"size": [320]}, "at `size`: expected `array` of length >= 2"),
        ({"size": [320, 10**6]}, r"at `size\[1\]`: expected `int` <= 8192"),
        ({"task": "other"}, "at `task`: invalid enum value 'other'"),
        ({"files": {"safetensors": "../a"}}, "at `files.*`: expected `str` matching regex"),
        ({"sha256": {}}, "has no checksum"),
        ({"sha256": None}, "at `sha256`: expected `object`, got `null`"),
    ],
)
def test_an_entry_of_the_manifest_that_is_not_complete_is_refused(
    tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    content = shipped(WEIGHTS_FOLDER / "manifest.json")
    content["gflv2-lite0"] |= change
    (tmp_path / "manifest.json").write_text(json.dumps(content))
    with pytest.raises(EngineError, match=f"model 'gflv2-lite0' in .*manifest.json is not .*{said}"):
        read_manifest(tmp_path)
