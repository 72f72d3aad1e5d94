"""One pair of models for several videos: whoever asks at the same moment shares a batch."""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Self

from realtime_polyp.field_of_view import FieldOfView
from realtime_polyp.inference.host import Inference, Lap, ModelOutputs


@dataclass(frozen=True)
class _Job:
    """What one caller asks; batch: once it is known, the batch's answers to come and the caller's rows of them."""

    images: Sequence[Any]
    fields: Sequence[FieldOfView]
    hflip: Sequence[bool]
    batch: "Future[tuple[Future[ModelOutputs], slice]]" = field(default_factory=Future)


class SharedInference:
    """An Inference that any number of pipelines may call at once, each on its own thread.

    What has arrived is joined into a batch of at most `largest` images, or one caller's if that is more; nothing waits
    for a batch to fill. One thread owns the models, as CUDA graphs need. An error reaches every caller of its batch.
    Close it when the sessions have ended.
    """

    def __init__(self, inference: Inference, *, largest: int = 8) -> None:
        self.detector, self.segmenter = inference.detector, inference.segmenter
        self.takes_planes, self.overlaps = inference.takes_planes, True
        self.batch_sizes: dict[int, int] = {}  # {images in a batch: how often}
        self._inference, self._largest = inference, largest
        self._waiting: list[_Job] = []
        self._lock = threading.Lock()
        self._owner = ThreadPoolExecutor(1, thread_name_prefix="shared inference")

    def begin(
        self, images: Sequence[Any], fields: Sequence[FieldOfView], lap: Lap, *, hflip: Sequence[bool] = ()
    ) -> Callable[[], ModelOutputs]:
        asked_s = time.perf_counter()
        job = _Job(images, fields, hflip or [False] * len(images))
        with self._lock:
            self._waiting.append(job)
        self._owner.submit(self._gather)

        def collect() -> ModelOutputs:
            batch, rows = job.batch.result()
            answers = part_of(batch.result(), rows)
            lap("shared models", asked_s)
            return answers

        return collect

    def close(self) -> None:
        self._owner.shutdown()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _gather(self) -> None:
        """Join what is waiting into one batch, which this thread runs next. Often another call was faster."""
        jobs = self._next_jobs()
        if not jobs:
            return
        batch = self._owner.submit(self._run, jobs)
        start = 0
        for job in jobs:
            stop = start + len(job.images)
            job.batch.set_result((batch, slice(start, stop)))
            start = stop

    def _next_jobs(self) -> list[_Job]:
        with self._lock:
            jobs, count = self._waiting[:1], sum(len(job.images) for job in self._waiting[:1])
            for job in self._waiting[1:]:
                count += len(job.images)
                if count > self._largest:
                    break
                jobs.append(job)
            del self._waiting[: len(jobs)]
            return jobs

    def _run(self, jobs: list[_Job]) -> ModelOutputs:
        images = [image for job in jobs for image in job.images]
        fields = [field for job in jobs for field in job.fields]
        hflip = [one for job in jobs for one in job.hflip]
        self.batch_sizes[len(images)] = self.batch_sizes.get(len(images), 0) + 1
        return self._inference.begin(images, fields, lambda stage, since_s: None, hflip=hflip)()


def part_of(answers: ModelOutputs, rows: slice) -> ModelOutputs:
    """The answers for some of the batch's images."""
    candidates = answers.candidates
    return ModelOutputs(
        None if candidates is None else (candidates[0][rows], candidates[1][rows]),
        None if answers.probability is None else answers.probability[rows],
        answers.detector_placements[rows],
        answers.segmenter_placements[rows],
    )
