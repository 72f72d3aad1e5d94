"""Runs Ultralytics on a clip: YOLO11n and YOLO11n-seg with random weights, both on every frame.

Needs an interpreter that has ultralytics (AGPL-3.0, not a dependency of this project) and nothing of this project:
python ultralytics_loop.py CLIP SIZE_PX [torch|openvino-int8]. With openvino-int8 the models are what Ultralytics' own
export makes of them, quantised on frames of the clip; the exported models are kept in YOLO_CONFIG_DIR for the next run.
The last line of output is {"frames", "seconds", ...}.
"""

import importlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

_MODELS = {"yolo11n": "detect", "yolo11n-seg": "segment"}
_CALIBRATION_FRAMES = 300  # as many as Ultralytics recommends
_ANY_SHAPE = "0 0.4 0.4 0.6 0.4 0.6 0.6 0.4 0.6\n"  # a label, which the data set must have and calibration ignores


def main(clip: str, size_px: int, runtime: str = "torch") -> None:
    ultralytics: Any = importlib.import_module("ultralytics")
    torch: Any = importlib.import_module("torch")
    ultralytics.settings.update({"sync": False})  # no usage statistics
    if runtime == "openvino-int8":
        folder = Path(os.environ["YOLO_CONFIG_DIR"], "int8")
        models = [open_quantised(ultralytics, name, clip, size_px, folder) for name in _MODELS]
    else:
        models = [ultralytics.YOLO(f"{name}.yaml") for name in _MODELS]  # built, not downloaded
    loop(clip, size_px, *models, most_frames=5)
    torch.set_num_threads(os.cpu_count() or 1)  # by default it uses one core fewer
    report = loop(clip, size_px, *models)
    print(json.dumps({**report, "version": ultralytics.__version__, "torch": torch.__version__}))


def open_quantised(ultralytics: Any, name: str, clip: str, size_px: int, folder: Path) -> Any:
    """Open the OpenVINO INT8 model that Ultralytics exports of YOLO11n; export it first if it is not there."""
    exported = folder / f"{name}.path"
    if not exported.exists():
        data = folder / "data.yaml"
        if not data.exists():
            write_calibration_frames(clip, data)
        weights = folder / f"{name}.pt"
        ultralytics.YOLO(f"{name}.yaml").save(weights)
        made = ultralytics.YOLO(weights).export(format="openvino", int8=True, imgsz=size_px, data=str(data))
        exported.write_text(str(made))
    return ultralytics.YOLO(exported.read_text(), task=_MODELS[name])


def write_calibration_frames(clip: str, data: Path) -> None:
    """Write frames from all of the clip as a data set in Ultralytics' layout, and its description to `data`."""
    cv2: Any = importlib.import_module("cv2")
    for kind in ("images", "labels"):
        (data.parent / kind).mkdir(parents=True, exist_ok=True)
    video = cv2.VideoCapture(clip)
    every = max(1, int(video.get(cv2.CAP_PROP_FRAME_COUNT)) // _CALIBRATION_FRAMES)
    index = 0
    while video.grab():
        if index % every == 0:
            cv2.imwrite(str(data.parent / "images" / f"{index:06d}.jpg"), video.retrieve()[1])
            (data.parent / "labels" / f"{index:06d}.txt").write_text(_ANY_SHAPE)
        index += 1
    lines = (f"path: {data.parent}", "train: images", "val: images", "names: {0: polyp}", "")
    data.write_text("\n".join(lines))


def loop(clip: str, size_px: int, detector: Any, segmenter: Any, *, most_frames: int | None = None) -> dict[str, Any]:
    """Run both models on every frame. The detector's stream decodes the file; two streams would decode it twice."""
    options = {"imgsz": size_px, "device": "cpu", "verbose": False}
    since_s, count = time.perf_counter(), 0
    for found in detector.predict(clip, stream=True, **options):
        segmenter.predict(found.orig_img, **options)
        count += 1
        if count == most_frames:
            break
    return {"frames": count, "seconds": time.perf_counter() - since_s}


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), *sys.argv[3:])
