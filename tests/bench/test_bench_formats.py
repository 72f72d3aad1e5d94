"""A sample of the format sweep, and its tables. All of it: python -m realtime_polyp.bench.formats."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

from realtime_polyp.bench.format_checks import FormatCheck, check_case
from realtime_polyp.bench.format_files import FRAMES, FormatCase, encoders, every_case
from realtime_polyp.bench.formats import BEGIN, END, explain, replace_tables, run_sweep, tables

SAMPLE = [
    FormatCase("libx264", "mp4", "yuv420p"),
    FormatCase("libx264", "mpegts", "yuvj420p"),
    FormatCase("libx264", "flv", "nv12"),
    FormatCase("libx264", "mov", "yuv420p", rotation=90),
    FormatCase("libx264", "matroska", "yuv420p", aspect=Fraction(64, 45)),
    FormatCase("libx264", "mp4", "yuv420p", aspect=Fraction(1, 2)),
    FormatCase("libx265", "mp4", "yuv420p10le"),
    FormatCase("mpeg2video", "vob", "yuv420p"),
    FormatCase("mpeg4", "avi", "yuv420p"),
    FormatCase("mjpeg", "avi", "yuvj422p"),
    FormatCase("ffv1", "matroska", "gray16le"),
    FormatCase("ffv1", "nut", "gbrp12le"),
    FormatCase("prores_ks", "mov", "yuva444p10le"),
    FormatCase("rawvideo", "nut", "uyvy422"),
    FormatCase("huffyuv", "avi", "yuv422p"),
    FormatCase("wmv2", "asf", "yuv420p"),
    FormatCase("gif", "gif", "gray"),
    FormatCase("amv", "avi", "yuvj420p"),
    FormatCase("libvpx-vp9", "webm", "yuv420p"),
]


@pytest.mark.parametrize("case", SAMPLE, ids=lambda case: case.name)
def test_a_sample_is_read_as_ffmpeg_reads_it(tmp_path: Path, case: FormatCase) -> None:
    if case.codec not in encoders():
        pytest.skip(f"this build of PyAV has no {case.codec}")
    check = check_case(case, tmp_path)
    assert (check.outcome, check.problem, check.frames) == ("right", "", FRAMES)
    assert ("rotation" in check.stored, "aspect" in check.stored) == (case.rotation != 0, case.aspect != 1)


def test_a_wrong_picture_time_and_number_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from realtime_polyp.bench import format_checks
    from realtime_polyp.sources import FileSource

    class Wrong(FileSource):
        def frames(self):  # type: ignore[no-untyped-def]
            for frame in list(super().frames())[1:]:
                yield replace(frame, image=255 - frame.image)

    monkeypatch.setattr(format_checks, "FileSource", Wrong)
    check = check_case(SAMPLE[0], tmp_path)
    assert check.outcome == "wrong" and f"{FRAMES - 1} of {FRAMES} frames" in check.problem
    assert "times are off by up to 40.0 ms" in check.problem and "pictures differ" in check.problem


def test_the_cases_are_hundreds_each_once_in_the_sweep() -> None:
    cases = list(dict.fromkeys(every_case()))
    assert len({case.name for case in cases}) == len(cases) > 1000
    assert {case.rotation for case in cases} == {0, 90, 180, 270}


def test_the_sweep_goes_on_where_it_ended(tmp_path: Path) -> None:
    state = tmp_path / "sweep.jsonl"
    cases = [SAMPLE[0], FormatCase("libx264", "amv", "yuv420p")]
    first = run_sweep(cases, state)
    assert [check.outcome for check in first] == ["right", "not written"]
    state.write_text(state.read_text().replace('"psnr_db": 99.0', '"psnr_db": 98.0'))
    assert run_sweep(cases, state)[0].psnr_db == 98.0


def test_tables_count_and_name_what_is_not_right(tmp_path: Path) -> None:
    checks = [
        FormatCheck("libx264/mp4/yuv420p/progressive/0/1:1", "right", frames=FRAMES, psnr_db=99.0),
        FormatCheck("libx264/mov/yuv420p/progressive/90/1:1", "right", frames=FRAMES, psnr_db=51.2, stored="rotation"),
        FormatCheck("h261/h261/yuv420p/progressive/0/1:1", "wrong", "times are off by up to 60 ms"),
        FormatCheck("wmv1/wtv/yuv420p/progressive/0/1:1", "refused", "clip.wtv is no video."),
        FormatCheck("wmv1/mp4/yuv420p/progressive/0/1:1", "not written"),
    ]
    report = tables(checks)
    assert "2 of 4 files" in report and "1 are explained below, 1 are not" in report
    assert "| libx264 | 2 | 2 | 2 | 1 | 51 | 0.0 |" in report
    assert "| wmv1/wtv: clip.wtv is no video. | 1 | **not explained** |" in report
    assert explain(checks[2]) and explain(checks[3]) is None
    page = tmp_path / "page.md"
    page.write_text(f"# A\n{BEGIN}\nold\n{END}\nZ\n")
    replace_tables(page, report)
    assert page.read_text().startswith(f"# A\n{BEGIN}\n\n2 of 4") and page.read_text().endswith(f"{END}\nZ\n")
    page.write_text("# A\n")
    with pytest.raises(ValueError, match="lacks the marks"):
        replace_tables(page, report)
