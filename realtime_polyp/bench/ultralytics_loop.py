"""Runs Ultralytics on a clip: YOLO11n and YOLO11n-seg with random weights, both on every frame.

Needs an interpreter that has ultralytics (AGPL-3.0, not a dependency of this project) and nothing of this project:
python ultralytics_loop.py CLIP SIZE_PX. The last line of output is {"frames", "seconds", ...}.
"""

import importlib
import json
import os
import sys
import time
from typing import Any


def main(clip: str, size_px: int) -> None:
    ultralytics: Any = importlib.import_module("ultralytics")
    torch: Any = importlib.import_module("torch")
    ultralytics.settings.update({"sync": False})  # no usage statistics
    models = [ultralytics.YOLO(name) for name in ("yolo11n.yaml", "yolo11n-seg.yaml")]  # built, not downloaded
    loop(clip, size_px, *models, most_frames=5)
    torch.set_num_threads(os.cpu_count() or 1)  # by default it uses one core fewer
    report = loop(clip, size_px, *models)
    print(json.dumps({**report, "version": ultralytics.__version__, "torch": torch.__version__}))


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
    main(sys.argv[1], int(sys.argv[2]))
