"""A naive loop to compare with: read, resize, both models, draw, one after the other.

python -m realtime_polyp.bench.naive CLIP. The last line of output is {"frames", "seconds", "stages_ms", ...}.
"""

import argparse
import importlib
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from realtime_polyp.engines.weights import DEFAULT_DETECTOR, DEFAULT_SEGMENTER, Weights, find_weights
from realtime_polyp.sources.opening import open_file
from realtime_polyp.telemetry.stage_times import StageTimer

Floats = NDArray[np.float32]
Model = Callable[[Floats], list[Floats]]  # takes pixels (1, 3, h, w) in 0..255; the modules normalise them
_SCORE, _NMS_IOU, _MASK = 0.3, 0.01, 0.5  # the pipeline's own
_WARM_UP_FRAMES = 5


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m realtime_polyp.bench.naive")
    parser.add_argument("clip", type=Path)
    parser.add_argument("--runtime", choices=list(RUNTIMES), default="torch")
    parser.add_argument("--detector", default=DEFAULT_DETECTOR)
    parser.add_argument("--segmenter", default=DEFAULT_SEGMENTER)
    options = parser.parse_args(arguments)
    weights = find_weights(options.detector, "detector"), find_weights(options.segmenter, "segmenter")
    models = [RUNTIMES[options.runtime](one) for one in weights]
    sizes = [one.size for one in weights]
    loop(options.clip, models, sizes, most_frames=_WARM_UP_FRAMES)
    print(json.dumps(loop(options.clip, models, sizes)))


def loop(
    clip: Path, models: list[Model], sizes: list[tuple[int, int]], *, most_frames: int | None = None
) -> dict[str, Any]:
    """Run detector and segmenter, of input `sizes` (h, w), on every frame of the clip; a joint model runs once."""
    detector, segmenter = models
    open_file(clip).close()  # OpenCV would follow a playlist
    since_s, count, timer = time.perf_counter(), 0, StageTimer()
    capture = cv2.VideoCapture(str(clip))
    while count != most_frames:
        is_read, frame = capture.read()
        if not is_read:
            break
        timer.lap("read")
        pixels = {size: prepare(frame, size) for size in set(sizes)}  # once if both sizes are equal
        timer.lap("resize")
        boxes, scores, *masks = detector(pixels[sizes[0]])
        timer.lap("detect")
        probability = (masks or segmenter(pixels[sizes[1]]))[0][0]
        timer.lap("segment")
        draw(frame, filter_boxes(boxes[0], scores[0], sizes[0], frame.shape), probability)
        timer.lap("NMS and draw")
        count += 1
    capture.release()
    stages_ms = {name: round(taken_ms / max(1, count), 2) for name, taken_ms in timer.shares_ms(1).items()}
    return {"frames": count, "seconds": time.perf_counter() - since_s, "stages_ms": stages_ms}


def prepare(frame: Any, size: tuple[int, int]) -> Floats:
    """Resize a BGR frame (H, W, 3) to RGB planes (1, 3, h, w) float32."""
    height, width = size
    small = cv2.cvtColor(cv2.resize(frame, (width, height)), cv2.COLOR_BGR2RGB)
    return np.ascontiguousarray(small.transpose(2, 0, 1)[None], np.float32)


def filter_boxes(
    boxes: Floats, scores: Floats, size: tuple[int, int], shape: tuple[int, ...]
) -> list[tuple[Floats, float]]:
    """Return boxes (xyxy, px of the frame) with their scores, after threshold and NMS."""
    chosen = scores >= _SCORE
    boxes, scores = boxes[chosen], scores[chosen]
    corners = [[float(x1), float(y1), float(x2 - x1), float(y2 - y1)] for x1, y1, x2, y2 in boxes]
    indices = cv2.dnn.NMSBoxes(corners, scores.tolist(), _SCORE, _NMS_IOU)
    scale = np.array([shape[1] / size[1], shape[0] / size[0]] * 2, np.float32)
    return [(boxes[index] * scale, float(scores[index])) for index in np.ravel(indices).astype(int)]


def draw(frame: Any, found: list[tuple[Floats, float]], probability: Floats) -> None:
    """Draw boxes, scores and the mask's outline onto the frame."""
    mask = cv2.resize(probability, (frame.shape[1], frame.shape[0])) >= _MASK
    outlines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    cv2.drawContours(frame, outlines, -1, (255, 224, 64), 2)
    for box, score in found:
        x1, y1, x2, y2 = (int(value) for value in box)
        cv2.rectangle(frame, (x1, y1), (x2, y2), (128, 255, 64), 2)
        cv2.putText(frame, f"{score:.2f}", (x1, y1 - 5), cv2.FONT_HERSHEY_SIMPLEX, 1.0, (128, 255, 64), 2)


def open_torch(weights: Weights) -> Model:
    import torch  # takes seconds to import

    from realtime_polyp.engines.eager import load_module

    module = load_module(weights)

    def run(pixels: Floats) -> list[Floats]:
        with torch.inference_mode():
            outputs = module(torch.from_numpy(pixels))
        return [one.numpy() for one in (outputs if isinstance(outputs, tuple) else (outputs,))]

    return run


def open_onnx(weights: Weights) -> Model:
    import torch  # as above

    from realtime_polyp.engines.eager import load_module

    runtime: Any = importlib.import_module("onnxruntime")  # by name: not a dependency of this project
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        torch.onnx.export(
            load_module(weights), (torch.zeros(1, 3, *weights.size),), path, dynamo=False, input_names=["pixels"]
        )
        session = runtime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    return lambda pixels: session.run(None, {"pixels": pixels})


RUNTIMES: dict[str, Callable[[Weights], Model]] = {"torch": open_torch, "onnxruntime": open_onnx}


if __name__ == "__main__":
    main()
