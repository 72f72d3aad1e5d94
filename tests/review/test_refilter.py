from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fakes import RATE_HZ, picture, pipeline_of
from session_toys import CONFIG, record, results_for

from realtime_polyp.config import PipelineConfig
from realtime_polyp.packets import Frame, Result
from realtime_polyp.recording.filter_settings import FACT, from_fact, settings_of, to_fact
from realtime_polyp.recording.recorder import SessionRecorder
from realtime_polyp.recording.store import SessionStore
from realtime_polyp.review.alarms import find_alarms
from realtime_polyp.review.cue_table import CueTable, read_cues, read_seeks, recorded_settings
from realtime_polyp.review.recorded import RecordedSession, SessionFileError
from realtime_polyp.review.refilter import Refilter
from realtime_polyp.review.tracks import TrackTable, join_tables, recorded_tracks
from realtime_polyp.temporal.config import LEAST_WEIGHT, TemporalConfig

COUNT = 70  # two visits of the disc, apart by less than the time for which it is remembered


def opened(folder: Path, results: list[Result], **options: object) -> tuple[RecordedSession, CueTable]:
    session = RecordedSession(record(folder / "session", results, **options))  # type: ignore[arg-type]
    return session, read_cues(session)


def assert_same(found: TrackTable, expected: TrackTable) -> None:
    for name in ("number", "id", "box", "score", "state", "age_s", "unseen_s"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), err_msg=name)


def refiltered(session: RecordedSession, cues: CueTable, **changed: object) -> TrackTable:
    settings = replace(recorded_settings(session), **changed)  # type: ignore[arg-type]
    refilter = Refilter(cues, settings, read_seeks(session), as_recorded=not changed)
    return join_tables(piece.tracks for piece in refilter.all())


@pytest.mark.parametrize("config", [CONFIG, replace(CONFIG, fusion=None), replace(CONFIG, temporal=None)])
def test_recorded_settings_give_the_recorded_tracks(tmp_path: Path, config: PipelineConfig) -> None:
    session, cues = opened(tmp_path, results_for(range(COUNT), config), config=config)
    tracks = recorded_tracks(session)
    assert len(tracks) > 50 and tracks.visible.any()
    assert_same(refiltered(session, cues), tracks)


def test_seek_while_recording_is_repeated(tmp_path: Path) -> None:
    """Before it and after it is the same polyp, which the picture of the disc after a seek alone does not tell."""
    results = results_for(range(COUNT), seek_at=47)
    session, cues = opened(tmp_path, results, seek_at=47)
    assert read_seeks(session) == (48,)
    assert_same(refiltered(session, cues), recorded_tracks(session))


@pytest.mark.parametrize(("seek_at", "to"), [(47, 47), (47, 30), (60, 3)])
def test_what_the_recorder_writes_of_a_seek_gives_the_recorded_tracks(tmp_path: Path, seek_at: int, to: int) -> None:
    facts = {FACT: to_fact(settings_of(CONFIG)), "models": {"detector": "fake", "segmenter": "fake"}}
    recorder = SessionRecorder(tmp_path, facts, live=False, period_s=1 / RATE_HZ, waits=True)
    pipeline = pipeline_of(config=CONFIG)
    for number, index in enumerate([*range(seek_at), *range(to, to + 30)]):
        if number == seek_at:
            pipeline.seek()
            recorder.seek(index / RATE_HZ)
        continues = number not in (0, seek_at)
        frame = Frame(index, index / RATE_HZ, float(number), picture(index), continues=continues)
        recorder.capture(frame)
        for result in pipeline.analyse([frame]):
            recorder.write(result)
    recorder.close()
    session = RecordedSession(tmp_path)
    assert read_seeks(session) == (seek_at + 1,)
    assert_same(refiltered(session, read_cues(session)), recorded_tracks(session))


def test_stills_are_filtered_again_as_stills(tmp_path: Path) -> None:
    pipeline = pipeline_of(config=CONFIG)
    frames = [Frame(index, float(index), 0.0, picture(index), is_still=True) for index in range(20)]
    results = [result for frame in frames for result in pipeline.analyse([frame])]
    session = RecordedSession(record(tmp_path / "session", results, stills=True))
    cues, tracks = read_cues(session), recorded_tracks(session)
    assert len(tracks) > 10 and session.frame(1).is_still
    assert_same(refiltered(session, cues), tracks)
    assert len(refiltered(session, cues, score_threshold=0.299)) >= len(tracks)
    assert not len(refiltered(session, cues, score_threshold=0.999))


@pytest.mark.parametrize("threshold, confirm_s", [(0.2, 0.065), (0.97, 0.065), (0.3, 0.4)])
def test_other_settings_give_the_tracks_that_they_give_live(tmp_path: Path, threshold: float, confirm_s: float) -> None:
    temporal = TemporalConfig(confirm_s=confirm_s)
    session, cues = opened(tmp_path, results_for(range(COUNT)))
    live = results_for(range(COUNT), replace(CONFIG, score_threshold=threshold, temporal=temporal))
    found = refiltered(session, cues, score_threshold=threshold, temporal=temporal)
    for number, result in enumerate(live, 1):
        tracks = sorted(result.tracks, key=lambda one: one.id)
        assert [(one.id, one.state) for one in found.at(number)] == [(one.id, one.state) for one in tracks]
        for one, other in zip(found.at(number), tracks, strict=True):
            np.testing.assert_allclose(one.box, other.box, atol=1.0)


def test_stretch_alone_has_the_boxes_of_the_whole(tmp_path: Path) -> None:
    session, cues = opened(tmp_path, results_for(range(COUNT)))
    whole = recorded_tracks(session).between(50, 60)
    part = Refilter(cues, recorded_settings(session)).stretch(50, 60)
    assert (part.first, part.last) == (50, 60) and len(whole) > 5
    np.testing.assert_array_equal(part.tracks.box, whole.box)
    np.testing.assert_array_equal(part.tracks.state, whole.state)


def test_frames_without_a_detection_are_skipped_in_bulk(tmp_path: Path) -> None:
    session, cues = opened(tmp_path, results_for(range(20)))
    assert len(refiltered(session, cues, score_threshold=1.0)) == 0
    assert cues.best_scores().shape == (20,)


def test_settings_survive_the_session_file() -> None:
    settings = settings_of(replace(CONFIG, score_threshold=0.25, temporal=TemporalConfig(hold_s=0.3)))
    assert from_fact(to_fact(settings)) == settings and from_fact(None).score_threshold == 0.3
    with pytest.raises(ValueError, match="is not a filter's settings"):
        from_fact({"score_threshold": "high"})


def test_evidence_of_an_older_session_is_the_same_curve() -> None:
    """Versions before 2026-11-28 stored a power of the log-odds above the threshold."""
    old = {"sure_score": 0.95, "power": 3.0, "penalty": 0.1, "miss_penalty": 0.5}
    found = from_fact({"score_threshold": 0.3, "weak_threshold": 0.1, "evidence": old, "temporal": None}).evidence
    for score in np.linspace(0.3, 1.0, 141):
        odds, least, most = (np.log(one / (1 - one)) for one in (min(score, 0.95), 0.3, 0.95))
        assert found.weight(score, 0.3) == pytest.approx(((odds - least) / (most - least)) ** 3, abs=1e-3)
    assert (found.weight(0.2, 0.3), found.miss_penalty) == (-0.1, 0.5)


def test_an_older_session_shows_more_at_a_lower_threshold_and_all_above_what_was_sure() -> None:
    old = {"sure_score": 0.75, "power": 2.0, "penalty": 0.0, "miss_penalty": 0.5}
    settings = from_fact({"score_threshold": 0.5, "evidence": old})
    assert settings.at(0.5) is settings and settings.evidence.weight(0.5, 0.5) == 0
    assert settings.at(0.2).evidence.weight(0.3, 0.2) == LEAST_WEIGHT and settings.at(0.2).score_threshold == 0.2
    high = from_fact({"score_threshold": 0.8, "evidence": old}).evidence  # a threshold above what is sure
    assert (high.weight(0.8, 0.8), high.weight(0.79, 0.8)) == (1.0, 0.0)


@pytest.mark.parametrize("change", [{"sure_score": 1.0}, {"power": 0.0}, {"power": "high"}, {"penalty": None}])
def test_damaged_evidence_of_an_older_session_is_one_sentence(change: dict[str, object]) -> None:
    old = {"sure_score": 0.95, "power": 3.0, "penalty": 0.1, "miss_penalty": 0.5} | change
    with pytest.raises(ValueError, match="fact filter is not a filter's settings"):
        from_fact({"score_threshold": 0.3, "evidence": old})


def test_settings_of_another_version_are_one_sentence(tmp_path: Path) -> None:
    session = RecordedSession(record(tmp_path / "session", results_for(range(3))))
    session.facts["filter"] = {"score_threshold": "high"}
    with pytest.raises(SessionFileError, match="cannot be read: fact filter is not a filter's settings"):
        recorded_settings(session)


def test_frames_that_a_recorder_adds_after_the_session_was_opened_are_left_out(tmp_path: Path) -> None:
    store, results = SessionStore(tmp_path), results_for(range(30))
    for result in results[:20]:
        store.add_result(result, session_s=result.frame.pts_s, picture_s=None)
    store.commit()
    session = RecordedSession(tmp_path)
    for result in results[20:]:
        store.add_result(result, session_s=result.frame.pts_s, picture_s=None)
    store.close()
    tracks = recorded_tracks(session)
    assert len(session.frames) == len(read_cues(session)) == 20 and tracks.number.max() == 20
    assert find_alarms(session.frames, tracks)
