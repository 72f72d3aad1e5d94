"""The timeline: what its file says, that it is bounded, and that a session fills it."""

import json
from pathlib import Path

from fakes import FakeDetector, FakeSegmenter, ScriptedSource

from realtime_polyp.pipeline import Pipeline
from realtime_polyp.session import Session
from realtime_polyp.telemetry.summary import write_trace
from realtime_polyp.telemetry.trace import Trace, events_of


def test_events_are_what_chrome_reads(tmp_path: Path) -> None:
    trace = Trace()
    trace.add("decode", "decode", 10.0, 10.002, frame=7)
    trace.add("analyse", "detect", 10.001, 10.011, frames=2)
    write_trace(trace, tmp_path / "trace.json")
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    rows = {event["tid"]: event["args"]["name"] for event in events if event["ph"] == "M"}
    work = [event for event in events if event["ph"] == "X"]
    assert [(rows[event["tid"]], event["name"]) for event in work] == [("decode", "decode"), ("analyse", "detect")]
    assert [(event["ts"], event["dur"]) for event in work] == [(0.0, 2000.0), (1000.0, 10000.0)]
    assert work[0]["args"] == {"frame": 7}


def test_the_newest_spans_are_kept_and_the_lost_ones_counted() -> None:
    trace = Trace(most_spans=3)
    for number in range(5):
        trace.add("a", str(number), number, number + 1)
    assert [span.name for span in trace.spans()] == ["2", "3", "4"]
    assert events_of(trace.spans(), lost=trace.lost)["otherData"] == {"spans_lost": 2}


def test_a_session_traces_decode_every_stage_and_delivery_of_every_frame() -> None:
    trace = Trace()
    pipeline = Pipeline(FakeDetector(), FakeSegmenter(), trace=trace)
    session = Session(ScriptedSource(12), pipeline, lambda result: None)  # type: ignore[arg-type]
    session.start()
    session.wait()
    spans = trace.spans()
    assert {span.arguments["frame"] for span in spans if span.name == "decode"} == set(range(12))
    assert {span.arguments["frame"] for span in spans if span.name == "deliver"} == set(range(12))
    detected = [span for span in spans if span.name == "detect"]
    assert sum(span.arguments["frames"] for span in detected) == 12
    assert {"field of view", "prepare", "segment", "postprocess", "track"} <= {span.name for span in spans}
    assert all(span.end_s >= span.start_s for span in spans)
    analysed = [span for span in spans if span.track == "analyse"]
    assert all(one.end_s <= other.start_s + 1e-9 for one, other in zip(analysed, analysed[1:], strict=False))
