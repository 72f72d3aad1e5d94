from pathlib import Path

import cv2
import numpy as np
import pytest
from media import write_clip

from realtime_polyp.sources import (
    CaptureSource,
    FileSource,
    ImageFolderSource,
    PatternSource,
    Source,
    SourceError,
    open_source,
)


def test_a_file_a_folder_a_pattern_and_a_device(tmp_path: Path) -> None:
    video = write_clip(tmp_path / "a.mp4", count=3)
    stills = tmp_path / "stills"
    stills.mkdir()
    cv2.imwrite(str(stills / "1.png"), np.zeros((8, 8, 3), np.uint8))
    lavfi = "device:testsrc2=size=64x48:rate=25"
    sources: list[Source] = [
        open_source(str(video), start_s=0.1),
        open_source(str(stills)),
        open_source("pattern:64x48@10:1"),
        open_source(lavfi, device_format="lavfi"),
    ]
    assert [type(s) for s in sources] == [FileSource, ImageFolderSource, PatternSource, CaptureSource]
    for source in sources:
        source.close()


def test_what_exists_wins_over_what_its_name_looks_like(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_clip(tmp_path / "pattern.mp4", count=1)
    assert isinstance(open_source("pattern.mp4"), FileSource)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "The source is empty"),
        ("  ", "The source is empty"),
        ("nowhere.mp4", "nowhere.mp4 does not exist"),
        ("0", "/dev/video0"),
        ("/dev/video63", "/dev/video63"),
        ("device:/dev/video62", "/dev/video62"),
        ("patternn", "is not a test pattern"),
        ("tcp://127.0.0.1:1", "refused"),
        ("gopher://x/y", "scheme 'gopher'; allowed are http"),
    ],
)
def test_bad_texts_are_refused_by_name(text: str, message: str) -> None:
    if Path("/dev/video0").exists() and text == "0":
        pytest.skip("this machine has a camera")
    with pytest.raises(SourceError, match=message):
        open_source(text)


@pytest.mark.parametrize("text", ["pattern", "0", "udp://127.0.0.1:9"])
@pytest.mark.parametrize("options", [{"start_s": 1.0}, {"end_s": 1.0}, {"loop": True}])
def test_live_sources_have_no_part_and_no_loop(text: str, options: dict[str, float]) -> None:
    with pytest.raises(SourceError, match=f"{text} plays as it comes"):
        open_source(text, **options)  # type: ignore[arg-type]
