"""Frames without a polyp: which are read, how they are played, and what the command reports."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from tissue_toys import WITH_POLYP, write_tissue_stills

import trainers.negative_video as command
from trainers.data.negatives import NegativeSet, find_reported, read_negatives, split_sequences

DISC, PLAIN = 0, WITH_POLYP  # stills of the toys: a bright disc, which both fakes take for a polyp, and plain tissue


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two reporting sequences, one that may train, and one of other data."""
    folder = tmp_path_factory.mktemp("negatives")
    write_tissue_stills(folder)
    every = {
        "seq04": [DISC, DISC + 1, PLAIN, DISC + 2],
        "seq06": [DISC + 3, PLAIN + 1],
        "seq05": [PLAIN],
        "own": [DISC],
    }
    write_sequences(folder, "negative.json", every)
    write_sequences(folder, "training.json", {"seq05": [PLAIN]})
    return folder


def write_sequences(root: Path, name: str, sequences: dict[str, Sequence[int]], *, boxes: int = 0) -> Path:
    """A COCO file of sequences of the toys' stills, all labelled as frames without a polyp but for `boxes` boxes."""
    content = json.loads((root / "val.json").read_text())
    frames = [(group, still) for group, stills in sequences.items() for still in stills]
    images = [
        {**content["images"][still], "id": place, "group": f"polypgen_negative/{group}"}
        for place, (group, still) in enumerate(frames)
    ]
    annotations = [{"image_id": 0, "category_id": 1, "bbox": [1, 1, 9, 9]}] * boxes
    (root / name).write_text(json.dumps({"images": images, "annotations": annotations}))
    return root / name


# Which frames are read


@pytest.mark.parametrize(
    ("use", "sequences"),
    [("train", ["seq05"]), ("report", ["seq04", "seq06"]), ("all", ["seq04", "seq06", "seq05", "own"])],
)
def test_each_use_reads_its_own_sequences(root: Path, use: str, sequences: list[str]) -> None:
    assert list(split_sequences(read_negatives(root / "negative.json", root, use))) == sequences  # type: ignore[arg-type]


def test_frames_are_found_beside_the_data_or_by_name(root: Path, tmp_path: Path) -> None:
    found = find_reported(None, root / "val.json", root)
    assert (found.name, len(found.frames)) == ("negative.json", 6)
    named = find_reported(str(root / "negative.json"), tmp_path / "val.json", root)
    assert [one.id for one in named.frames] == [one.id for one in found.frames]
    assert find_reported("none", root / "val.json", root) == NegativeSet()
    assert find_reported(None, tmp_path / "val.json", root) == NegativeSet()


def test_a_file_beside_the_data_that_may_only_train_is_left_out_and_refused_by_name(root: Path, tmp_path: Path) -> None:
    (tmp_path / "negative.json").write_bytes((root / "training.json").read_bytes())
    assert find_reported(None, tmp_path / "val.json", root) == NegativeSet()
    with pytest.raises(ValueError, match="has no frame that may report: its groups must end with seq04, seq06"):
        find_reported(str(tmp_path / "negative.json"), tmp_path / "val.json", root)


# The command


def words(root: Path, *more: str) -> list[str]:
    return ["--data", str(root / "negative.json"), "--root", str(root), "--detector", "fake", "--segmenter", "fake",
            "--engine", "eager", *more]  # fmt: skip


@pytest.mark.usefixtures("fake_engines")
def test_the_command_reports_each_sequence_with_and_without_the_filter(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "deep" / "figures.json"
    command.main(words(root, "--json", str(out)))
    report = json.loads(out.read_text())
    at_once = report["every_detection_at_once"]
    assert list(at_once["sequences"]) == ["seq04", "seq06"]
    assert at_once["sequences"]["seq04"] == {
        "frames": 4, "box_share": 0.75, "mask_share": 0.75, "area_share": 0.75, "longest_run": 2,
        "alarms_per_minute": None,
    }  # fmt: skip
    assert (at_once["all"]["frames"], at_once["all"]["box_share"]) == (6, pytest.approx(4 / 6))
    filtered = report["with_the_temporal_filter"]
    assert filtered["all"]["box_share"] < at_once["all"]["box_share"]  # a track is confirmed first
    assert (report["sequences"], report["rate_hz"], report["rate_is_true"]) == ("report", 25.0, False)
    printed = capsys.readouterr().out
    assert "With the temporal filter, % of frames" in printed and "Every detection at once, % of frames" in printed
    assert "6 frames of negative.json at 25 frames/s (the true rate is not known" in printed
    assert "alarms/min" not in printed


@pytest.mark.usefixtures("fake_engines")
def test_a_mask_counts_only_where_it_is_drawn(root: Path, tmp_path: Path) -> None:
    """The segmenter sees every disc at once; beside a detector it is drawn with its box, and alone by itself."""
    outs = [tmp_path / "both.json", tmp_path / "alone.json"]
    command.main(words(root, "--json", str(outs[0])))
    command.main(words(root, "--detector", "none", "--json", str(outs[1])))
    both, alone = (json.loads(out.read_text())["with_the_temporal_filter"]["all"] for out in outs)
    assert both["mask_share"] <= both["box_share"] < alone["mask_share"]
    assert (alone["box_share"], alone["longest_run"]) == (None, None)


@pytest.mark.usefixtures("fake_engines")
def test_a_known_rate_gives_alarms_per_minute(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command.main(words(root, "--sequences", "all", "--rate", "10", "--rate-is-true", "--segmenter", "none"))
    printed = capsys.readouterr().out
    last = [line for line in printed.split("\n") if line.startswith("all")][-1].split()
    minutes = 8 / 10 / 60
    assert last[:6] == ["all", "8", "62.5", "-", "-", "2"] and last[6] == f"{4 / minutes:.1f}"
    assert "own" in printed and "alarms/min >= 0.5 s" in printed and "not known" not in printed


@pytest.mark.usefixtures("fake_engines")
def test_nothing_is_remembered_from_one_sequence_to_the_next(root: Path) -> None:
    runtime = command.open_models(command.command_line().parse_args(words(root)))
    disc = read_negatives(root / "negative.json", root, "report")[0]

    def has_box(**sequences: int) -> dict[str, list[bool | None]]:
        """Whether a box is shown in each frame of sequences of the same picture."""
        stills = {name: [disc] * count for name, count in sequences.items()}
        shown = command.play_all(stills, runtime.inference, {"": runtime.pipeline_config}, 25.0)[""]
        return {name: [frame.has_box for frame in frames] for name, frames in shown.items()}

    assert has_box(one=14)["one"][12:] == [True, True]
    assert has_box(one=12, two=2) == {"one": has_box(one=12)["one"], "two": [False, False]}


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--rate", "0.5"], "--rate is 0.5: it must lie in 1..1000 frames/s"),
        (["--rate", "nan"], "--rate is nan: it must lie in 1..1000 frames/s"),
        (["--detector", "none", "--segmenter", "none"], "--detector and --segmenter are both none: nothing to measure"),
        (["--data", "nowhere.json"], "no such data file: nowhere.json"),
        (["--data", "{root}/training.json"], "has no frame that may report: its groups must end with seq04"),
        (["--data", "{root}/empty.json", "--sequences", "all"], "has no images"),
        (["--data", "{root}/polyps.json"], "shows polyps in 1 of its 1 images, such as 0.png: frames without a polyp"),
        (["--root", "{root}/elsewhere"], "no such image"),
        (["--detector", "crystal-ball"], "crystal-ball"),
        (["--run", "{root}"], "recipe"),
    ],
)
@pytest.mark.usefixtures("fake_engines")
def test_bad_input_is_one_sentence_and_exit_code_2(
    root: Path, capsys: pytest.CaptureFixture[str], more: list[str], said: str
) -> None:
    write_sequences(root, "empty.json", {})
    write_sequences(root, "polyps.json", {"seq04": [DISC]}, boxes=1)
    with pytest.raises(SystemExit) as end:
        command.main(words(root, *(word.replace("{root}", str(root)) for word in more)))
    assert end.value.code == 2
    last = capsys.readouterr().err.strip().split("\n")[-1]
    assert last.startswith("python -m trainers.negative_video: ") and said in last


def test_help_shows_examples_and_says_that_the_rate_is_unknown(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.main(["--help"])
    printed = " ".join(capsys.readouterr().out.split())
    assert "examples: python -m trainers.negative_video" in printed
    assert "the true rate of PolypGen's sequences is unknown" in printed
