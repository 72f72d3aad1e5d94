"""Results in a notebook: pictures, tables, progress, and lists without pixels."""

import sys
import types
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from fakes import ScriptedSource, pipeline_of
from media import write_clip

import realtime_polyp
from realtime_polyp.notebook import Picture, to_dataframe, to_rows, without_picture
from realtime_polyp.outputs.overlay import draw, shapes_of
from realtime_polyp.packets import Result
from realtime_polyp.pipeline import run_inline

FAKES = {"detector": "fake", "segmenter": "fake"}


@pytest.fixture(scope="module")
def results() -> list[Result]:
    """Twelve frames; a polyp is shown from some frame on."""
    return list(run_inline(ScriptedSource(12).frames(), pipeline_of()))


def test_a_result_shows_its_picture_with_the_overlay_and_the_notice(results: list[Result], tmp_path: Path) -> None:
    result = results[-1]
    shown = result.show()
    decoded = cv2.imdecode(np.frombuffer(shown._repr_png_(), np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    drawn = draw(result.frame.image, shapes_of(result))
    above = slice(0, len(drawn) - 12)  # the research-use notice is below
    assert np.array_equal(decoded[above], drawn[above]) and not np.array_equal(decoded, drawn)
    shown.save(tmp_path / "a.png")
    assert np.array_equal(cv2.imread(str(tmp_path / "a.png"))[..., ::-1], decoded)


def test_a_shown_picture_is_no_larger_than_asked_for(results: list[Result]) -> None:
    height, width = results[0].frame.image.shape[:2]
    shown = results[0].show(largest_px=48)
    assert isinstance(shown, Picture) and max(shown.image.shape) == 48
    assert shown.image.shape[1] / shown.image.shape[0] == pytest.approx(width / height, rel=0.05)


def test_without_its_picture_a_result_is_the_same_but_cannot_be_shown(results: list[Result]) -> None:
    bare = without_picture(results[-1])
    assert bare.to_dict() == results[-1].to_dict()
    assert not bare.frame.has_picture and results[-1].frame.has_picture and bare.raw is bare.cues is None
    with pytest.raises(ValueError, match="keep_pictures=True"):
        bare.show()


def test_rows_are_frames_and_polyps(results: list[Result]) -> None:
    rows = to_rows(without_picture(result) for result in results)
    assert [row["index"] for row in rows] == list(range(12))  # one polyp at most
    assert rows[0]["track"] is rows[0]["x1"] is None and rows[0]["frame_quality"] == "clear"
    (track,) = results[-1].tracks
    assert (rows[-1]["track"], rows[-1]["x1"], rows[-1]["score"]) == (1, float(track.box[0]), float(track.score))


def test_a_frozen_picture_shows_no_polyp(results: list[Result]) -> None:
    assert results[-1].visible
    (row,) = to_rows([replace(results[-1], signal="frozen")])
    assert row["track"] is None and row["signal"] == "frozen"


def test_a_table_needs_pandas_and_says_so(results: list[Result], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="needs pandas: pip install pandas"):
        to_dataframe(results)


def test_a_table_has_the_rows(results: list[Result], monkeypatch: pytest.MonkeyPatch) -> None:
    pandas = types.ModuleType("pandas")

    class DataFrame(list):  # type: ignore[type-arg]
        def __init__(self, rows: list[dict[str, object]], columns: list[str]) -> None:
            super().__init__(rows)
            assert all(list(row) == columns for row in rows)

        def astype(self, types: dict[str, str]) -> "DataFrame":
            assert types == {"track": "Int64"}  # whole numbers, and nothing where there is no polyp
            return self

    pandas.DataFrame = DataFrame  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pandas", pandas)
    assert to_dataframe(results) == to_rows(results)


def test_analyse_counts_and_leaves_pictures_out(
    fake_engines: dict[str, object], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write_clip(tmp_path / "clip.mp4", count=10)
    kept = list(realtime_polyp.analyse(tmp_path / "clip.mp4", keep_pictures=False, progress=True, **FAKES))
    assert len(kept) == 10 and not any(result.frame.has_picture for result in kept)
    assert "10/10" in capfd.readouterr().err
