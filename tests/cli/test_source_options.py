"""--field, and what is said where two pictures of a frame may be the endoscope's."""

import json
from pathlib import Path

import numpy as np
import pytest
from media import Picture, write_clip

from realtime_polyp.cli.main import main
from realtime_polyp.cli.options import parse
from realtime_polyp.console import EXIT_BAD_INPUT

MODELS = ["--detector", "none", "--segmenter", "none", "--headless"]


def two_pictures(number: int, size: tuple[int, int]) -> Picture:
    """Left and right of a dark bar, both in colours of mucosa."""
    image = np.zeros((size[1], size[0], 3), np.uint8)
    grain = np.random.default_rng(number).integers(0, 20, (size[1], 1, 1), np.uint8)
    image[:, :150], image[:, 170:] = (170, 110, 90) + grain, (160, 100, 80) + grain
    return image


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clip")
    return write_clip(folder / "two.mp4", count=4, size=(320, 240), draw=two_pictures, options={"crf": "10"})


def test_a_doubt_is_said_with_the_option_that_ends_it(clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*MODELS, str(clip)]) == 0
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "two pictures in the frame may be the endoscope's" in said
    option = said.partition("--field ")[2].split()[0]
    assert main([*MODELS, str(clip), "--field", option]) == 0
    assert capsys.readouterr().err == ""


def test_a_named_field_is_what_the_models_see(clip: Path, tmp_path: Path) -> None:
    out = tmp_path / "r.jsonl"
    assert main([*MODELS, str(clip), "--field", "170,10,320,200", "--results", str(out)]) == 0
    assert {str(json.loads(line)["field_of_view"]) for line in out.read_text().splitlines()} == {"[170, 10, 320, 200]"}


@pytest.mark.parametrize(
    "field, said",
    [
        ("170,10,330,200", "--field 170,10,330,200 reaches beyond the picture of two.mp4, 320 x 240 px"),
        ("1,2,3", "'1,2,3' is no field of view: give x1,y1,x2,y2 in px"),
        ("200,10,170,200", "'200,10,170,200' is no field of view: its corners"),
    ],
)
def test_what_is_no_field_is_refused(clip: Path, capsys: pytest.CaptureFixture[str], field: str, said: str) -> None:
    try:
        code = main([*MODELS, str(clip), "--field", field])
    except SystemExit as ended:
        code = ended.code  # type: ignore[assignment]
    error = capsys.readouterr().err
    assert code == EXIT_BAD_INPUT and said in error and error.count("\n") == 1


def test_a_session_is_analysed_again_in_a_named_field_and_shown_in_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    field = parse(["--review", "session", "--reanalyse", "--field", "1,2,99,99"]).field
    assert field is not None and field.box == [1, 2, 99, 99]
    with pytest.raises(SystemExit):
        parse(["--review", "session", "--field", "1,2,99,99"])
    assert "leave out --field" in capsys.readouterr().err


def test_a_file_without_times_is_read_at_a_rate_that_is_said_with_the_way_to_another(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_clip(tmp_path / "a.mjpeg", rate=50, format="mjpeg", codec="mjpeg", pix_fmt="yuvj420p")
    assert main([*MODELS, str(path)]) == 0
    assert "a.mjpeg: the file stores no times, and 25 frames per second are assumed" in capsys.readouterr().err
    assert main([*MODELS, str(path), "--rate", "50"]) == EXIT_BAD_INPUT
    assert "ffmpeg -r HZ -i FILE -c copy OUT.mkv" in capsys.readouterr().err
    assert main([*MODELS, str(write_clip(tmp_path / "a.mkv", rate=50))]) == 0
    assert "stores no times" not in capsys.readouterr().err
