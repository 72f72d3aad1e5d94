"""One pair of models for several videos: calls that arrive at the same time share a batch."""

import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, Self

from realtime_polyp.field_of_view import FieldOfView
from realtime_polyp.inference.base import Inference, ModelOutputs, Pending
from realtime_polyp.telemetry.stage_times import StageTime


@dataclass(frozen=True)
class _Job:
    """One call. batch: set once it is known: the batch's outputs, and the rows of them that belong to this call."""

    images: Sequence[Any]
    fields: Sequence[FieldOfView]
    hflip: Sequence[bool]
    batch: "Future[tuple[Future[ModelOutputs], slice]]" = field(default_factory=Future)


class SharedInference:
    """An Inference that any number of pipelines may call at once, each on its own thread.

    Waiting calls are joined into a batch of at most `largest` images (more if a single call has more); nothing waits
    for a batch to fill. One thread owns the models, as CUDA graphs require. A failure of the models reaches every
    caller of its batch; wrong values reach only the caller whose images they belong to, and are its to check. Close it
    when the sessions have ended.
    """

    def __init__(self, inference: Inference, *, largest: int = 8) -> None:
        self.detector, self.segmenter = inference.detector, inference.segmenter
        self.takes_planes, self.overlaps = inference.takes_planes, True
        self.batch_sizes: dict[int, int] = {}  # {images in a batch: number of such batches}
        self._inference, self._largest = inference, largest
        self._waiting: list[_Job] = []
        self._lock = threading.Lock()
        self._owner = ThreadPoolExecutor(1, thread_name_prefix="shared inference")

    def submit(
        self, images: Sequence[Any], fields: Sequence[FieldOfView], *, hflip: Sequence[bool] = ()
    ) -> Pending[ModelOutputs]:
        submitted_s = time.perf_counter()
        job = _Job(images, fields, hflip or [False] * len(images))
        with self._lock:
            self._waiting.append(job)
        self._owner.submit(self._start_batch)

        def collect() -> ModelOutputs:
            batch, rows = job.batch.result()
            outputs = slice_outputs(batch.result(), rows)
            return replace(outputs, stage_times=(StageTime("shared models", submitted_s, time.perf_counter()),))

        return Pending(collect)

    def close(self) -> None:
        self._owner.shutdown()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start_batch(self) -> None:
        """Join the waiting jobs into one batch, which this thread runs next; an earlier call may have taken them."""
        jobs = self._next_jobs()
        if not jobs:
            return
        try:
            batch = self._owner.submit(self._run, jobs)
        except RuntimeError as error:  # closed, or no thread: no caller may wait for a batch that never runs
            for job in jobs:
                job.batch.set_exception(error)
            return
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
        hflip = [flip for job in jobs for flip in job.hflip]
        self.batch_sizes[len(images)] = self.batch_sizes.get(len(images), 0) + 1
        return self._inference.submit(images, fields, hflip=hflip).result()


def slice_outputs(outputs: ModelOutputs, rows: slice) -> ModelOutputs:
    """The outputs for some of the batch's images, without stage times."""
    predictions = outputs.predictions
    return ModelOutputs(
        None if predictions is None else (predictions[0][rows], predictions[1][rows]),
        None if outputs.probability is None else outputs.probability[rows],
        outputs.detector_placements[rows],
        outputs.segmenter_placements[rows],
    )
