"""Every path to the models checks what they answer: the same fault, the same sentence, the same frame."""

import argparse
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from engine_faults import BAD, FAULTS, Fault, engines_of, marked_picture
from fakes import FakeDetector, FakeSegmenter, frames_of

from realtime_polyp.engines.base import BaseEngine, EngineError
from realtime_polyp.field_of_view import whole
from realtime_polyp.inference.base import Inference, ModelOutputs
from realtime_polyp.inference.checked import (
    ModelOutputError,
    check_outputs,
    check_shapes,
    checked_predictions,
    checked_probability,
)
from realtime_polyp.inference.cuda import CudaInference
from realtime_polyp.inference.cuda_graphs import keep_best
from realtime_polyp.inference.cuda_streams import CpuStreams
from realtime_polyp.inference.host import HostInference
from realtime_polyp.inference.shared import SharedInference
from realtime_polyp.packets import Frame
from realtime_polyp.pipeline import Pipeline
from realtime_polyp.preprocess.letterbox import prepare
from trainers.command import report_bad_input
from trainers.evaluation.predict import detect, segment


class OnDevice(BaseEngine):
    """A fake whose answers stay on the device, which is the host here."""

    device_resident = True

    def __init__(self, engine: Any) -> None:
        self.name, self.model, self.task, self.size = engine.name, engine.model, engine.task, engine.size
        self.device, self.key, self._engine = "cpu", engine.key, engine

    def __call__(self, pixels: Any) -> Any:
        return self._engine(pixels)

    def on_device(self, pixels: torch.Tensor) -> Any:
        answer = self._engine(pixels.numpy())
        answers = answer if isinstance(answer, tuple) else (answer,)
        return tuple(_as_tensor(one) if isinstance(one, np.ndarray) else one for one in answers)


def _as_tensor(values: Any) -> torch.Tensor:
    """Without memory of its own where the array has none."""
    if 0 in values.strides and values.size:
        return torch.tensor(values[(0,) * values.ndim]).expand(values.shape)
    return torch.from_numpy(np.ascontiguousarray(values))


class Together:
    """Wraps a fake: it overlaps with the other model, and answers when it is collected."""

    def __init__(self, engine: Any) -> None:
        self._engine, self.overlaps, self.under_way = engine, True, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def start(self, pixels: Any) -> Callable[[], Any]:
        self.under_way += 1

        def collect() -> Any:
            self.under_way -= 1
            return self._engine(pixels)

        return collect


def in_turn(fault: Fault) -> Inference:
    return HostInference(*engines_of(fault))  # type: ignore[arg-type]


def together(fault: Fault) -> Inference:
    detector, segmenter = engines_of(fault)
    return HostInference(Together(detector), Together(segmenter))  # type: ignore[arg-type]


def on_streams(fault: Fault) -> Inference:
    """The code of a GPU; two candidates are reduced to the better one, as far as they are."""
    detector, segmenter = engines_of(fault)
    return CudaInference(OnDevice(detector), OnDevice(segmenter), streams=CpuStreams(), buckets=(1, 2, 4))  # type: ignore[arg-type]


def shared(fault: Fault) -> Inference:
    return SharedInference(in_turn(fault))


PATHS = {"in turn": in_turn, "together": together, "CUDA": on_streams, "shared": shared}


def marked_frames(first: int, stop: int) -> list[Frame]:
    return [Frame(index, index / 25, 0.0, marked_picture(index)) for index in range(first, stop)]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("name", FAULTS)
def test_a_wrong_answer_is_an_error_with_the_first_bad_frame(name: str, path: str) -> None:
    fault = FAULTS[name]
    if path == "CUDA" and name == "scores of int":
        pytest.skip("converted to float32 on the device")
    inference = PATHS[path](fault)
    pipeline = Pipeline(None, None, inference=inference)
    assert [len(result.detections) for result in pipeline.analyse(marked_frames(4, BAD))] == [1] * (BAD - 4)
    with pytest.raises(BaseException) as raised:
        pipeline.analyse(marked_frames(BAD - 2, BAD + 2))
    if isinstance(raised.value, ModelOutputError):
        assert raised.value.frame_index == (BAD if fault.by_row else BAD - 2)
        raised.match("shape|boxes and scores|float32" if path == "CUDA" and not fault.by_row else fault.says)
    else:
        assert "raises" in name or "exits" in name
    if isinstance(inference, SharedInference):
        inference.close()


@pytest.mark.parametrize("name", ["raises", "raises no Exception", "an image too few"])
@pytest.mark.parametrize("task", ["detector", "segmenter"])
def test_where_one_model_fails_the_other_is_waited_for(name: str, task: str) -> None:
    fault = Fault(task, FAULTS[name].spoil, "", by_row=False)
    inference: Any = together(fault)
    with pytest.raises(BaseException, match="out of|off|shape|float32"):
        Pipeline(None, None, inference=inference).analyse(marked_frames(BAD, BAD + 1))
    assert inference.detector.under_way == inference.segmenter.under_way == 0


def test_a_model_that_cannot_start_leaves_the_other_idle() -> None:
    class Refusing(Together):
        def start(self, pixels: Any) -> Any:
            raise RuntimeError("cannot start")

    detector = Together(FakeDetector())
    with pytest.raises(RuntimeError, match="cannot start"):
        Pipeline(detector, Refusing(FakeSegmenter())).analyse(frames_of(1))  # type: ignore[arg-type]
    assert detector.under_way == 0


def test_the_frame_of_a_batch_is_the_first_bad_one_of_both_models() -> None:
    """The mask is bad one frame before the scores are."""
    outputs = right_outputs(4)
    assert outputs.predictions is not None and outputs.probability is not None
    outputs.predictions[1][2:, 0] = np.nan
    outputs.probability[1, 5, 5] = np.nan
    with pytest.raises(ModelOutputError, match="its mask values are not numbers") as raised:
        check_outputs(outputs, FakeDetector(), FakeSegmenter(), 4)  # type: ignore[arg-type]
    assert raised.value.row == 1


def right_outputs(count: int) -> ModelOutputs:
    pixels = np.stack([np.full((3, 64, 96), 90, np.uint8)] * count)
    return ModelOutputs(FakeDetector()(pixels), FakeSegmenter()(pixels))


def test_what_is_right_passes() -> None:
    outputs = right_outputs(3)
    assert outputs.predictions is not None and outputs.probability is not None
    outputs.predictions[1][0] = 0.0, 1.0 + 1e-6  # rounding
    outputs.probability[0, 0, :2] = 0.0, 1.0
    outputs.predictions[0][0, 0] = -400, -300, 800, 900  # a box may reach beyond the picture
    check_outputs(outputs, FakeDetector(), FakeSegmenter(), 3)  # type: ignore[arg-type]
    check_outputs(ModelOutputs(None, None), None, None, 3)
    assert checked_predictions(outputs.predictions, FakeDetector(), 3) is outputs.predictions  # type: ignore[arg-type]
    assert checked_probability(outputs.probability, FakeSegmenter(), 3) is outputs.probability  # type: ignore[arg-type]


@pytest.mark.parametrize("cell", [1, 2, 4])
def test_a_map_may_be_finer(cell: int) -> None:
    probability = np.zeros((1, 64 // cell, 96 // cell), np.float32)
    check_shapes(ModelOutputs(None, probability), None, FakeSegmenter(), 1)  # type: ignore[arg-type]


def test_a_masked_array_does_not_hide_what_is_masked() -> None:
    probability = np.ma.masked_invalid(np.full((1, 64, 96), np.nan, np.float32))
    with pytest.raises(ModelOutputError, match="MaskedArray of float32"):
        checked_probability(probability, FakeSegmenter(), 1)  # type: ignore[arg-type]


def test_a_score_that_is_no_number_is_among_the_best_that_leave_the_device() -> None:
    random = torch.Generator().manual_seed(0)
    for place in torch.randint(0, 2550, (20,), generator=random).tolist():
        for value in (float("nan"), float("inf")):
            scores = torch.rand(1, 2550, generator=random)
            scores[0, place] = value
            assert not bool(torch.isfinite(keep_best(torch.zeros(1, 2550, 4), scores, 1000)[1]).all())


def test_a_fill_value_of_padding_is_not_the_model_s_answer() -> None:
    """Three images in a bucket of four: the fourth answer is nobody's."""

    class FourthIsBad(FakeDetector):
        def __call__(self, pixels: Any) -> Any:
            boxes, scores = super().__call__(pixels)
            scores[3:] = np.nan
            return boxes, scores

    inference = CudaInference(OnDevice(FourthIsBad()), None, streams=CpuStreams(), buckets=(4,))  # type: ignore[arg-type]
    assert len(Pipeline(None, None, inference=inference).analyse(frames_of(3))) == 3
    with pytest.raises(ModelOutputError, match="1 NaN|2 NaN"):
        Pipeline(None, None, inference=inference).analyse(frames_of(4))


def test_an_engine_of_wrong_shapes_is_refused_when_it_is_opened_on_a_device() -> None:
    class Short(FakeSegmenter):
        def __call__(self, pixels: Any) -> Any:
            return super().__call__(pixels)[..., 1:]

    with pytest.raises(EngineError, match="its mask has a wrong shape .*choose another --engine"):
        CudaInference(None, OnDevice(Short()), streams=CpuStreams(), buckets=(1,))  # type: ignore[arg-type]


def test_a_batch_that_cannot_be_started_is_no_endless_wait() -> None:
    image = marked_picture(0)
    inference = SharedInference(HostInference(FakeDetector(), FakeSegmenter()))  # type: ignore[arg-type]
    refuse = RuntimeError("no thread")

    class Refusing:
        def submit(self, work: Callable[..., object], *arguments: object) -> object:
            if arguments:
                raise refuse
            return work()

    inference._owner, owner = Refusing(), inference._owner  # type: ignore[assignment]
    with pytest.raises(RuntimeError, match="no thread"):
        inference.submit([image], [whole(image)]).result()
    owner.shutdown()


def test_a_model_that_fails_on_the_frame_that_warms_up_fails_at_the_first_real_one() -> None:
    always = Fault("detector", FAULTS["NaN score"].spoil, "")

    class Always(FakeDetector):
        def __call__(self, pixels: Any) -> Any:
            return always.spoil(super().__call__(pixels), np.arange(len(pixels)))

    pipeline = Pipeline(Always(), FakeSegmenter())  # type: ignore[arg-type]
    pipeline.warm_up()
    with pytest.raises(ModelOutputError, match="its scores are not numbers") as raised:
        pipeline.analyse(frames_of(2))
    assert raised.value.frame_index == 0


@pytest.mark.parametrize(("name", "look"), [("NaN box", detect), ("NaN mask", segment)])
def test_a_command_on_stills_names_the_model_and_ends_with_code_1(
    name: str, look: Callable[..., object], capsys: pytest.CaptureFixture[str]
) -> None:
    fault = FAULTS[name]
    engine = engines_of(fault)[fault.task == "segmenter"]
    image = marked_picture(BAD)
    batch = prepare([image], [whole(image)], engine.size)
    with pytest.raises(SystemExit) as end, report_bad_input(argparse.ArgumentParser(prog="look")):
        look(engine, batch, *([0.3] if look is detect else []))
    assert end.value.code == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("look: the model failed: its ") and "NaN)" in line
