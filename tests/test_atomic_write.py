"""Files that are written completely or not at all."""

import ast
import json
import os
import threading
from pathlib import Path

import pytest
from conftest import ROOT

from realtime_polyp.atomic_write import atomic_write_bytes, atomic_write_text, replacing, write_json


def test_a_file_is_created_and_then_replaced_and_nothing_else_is_left(tmp_path: Path) -> None:
    path = tmp_path / "recipe.json"
    atomic_write_text(path, "é\n")
    assert path.read_bytes() == b"\xc3\xa9\n"
    atomic_write_bytes(path, b"\x00\x01", sync=False)
    assert path.read_bytes() == b"\x00\x01" and list(tmp_path.iterdir()) == [path]


def test_the_temporary_path_is_hidden_beside_the_path_and_has_its_suffix(tmp_path: Path) -> None:
    """Libraries choose the format by the suffix; some write a second file under the same stem."""
    with replacing(tmp_path / "net.int8.bin") as second, replacing(tmp_path / "net.int8.xml") as first:
        assert first.parent == tmp_path and first.name.startswith(".") and first.suffix == ".xml"
        assert first.with_suffix(".bin") == second
        first.write_text("graph")
        second.write_text("weights")
        assert not (tmp_path / "net.int8.xml").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["net.int8.bin", "net.int8.xml"]


def test_an_error_keeps_the_old_content_and_leaves_no_temporary_file(tmp_path: Path) -> None:
    path = tmp_path / "best.safetensors"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), replacing(path) as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("sync", [True, False])
def test_a_block_that_writes_nothing_is_an_error_and_keeps_the_old_content(tmp_path: Path, sync: bool) -> None:
    path = tmp_path / "kept.txt"
    path.write_text("old")
    with pytest.raises(FileNotFoundError), replacing(path, sync=sync):
        pass
    assert path.read_text() == "old"


def test_a_missing_folder_is_an_oserror(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        atomic_write_text(tmp_path / "missing" / "file.txt", "text")


def test_json_makes_its_folder_and_content_that_is_no_json_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.json"
    write_json(path, {"b": 1, "a": [2.5, None]}, sort_keys=True)
    assert path.read_text() == json.dumps({"a": [2.5, None], "b": 1}, indent=1) + "\n"
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    assert json.loads(path.read_text())["b"] == 1


def test_json_goes_into_a_pipe(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    write_json(pipe, [1])
    assert os.read(reader, 100) == b"[\n 1\n]\n"
    os.close(reader)
    assert pipe.is_fifo()


def test_content_is_on_the_disk_before_the_move(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda handle: (calls.append("fsync"), fsync(handle)))
    monkeypatch.setattr(os, "replace", lambda *paths: (calls.append("replace"), replace(*paths)))
    atomic_write_text(tmp_path / "a.txt", "text")
    atomic_write_bytes(tmp_path / "a.jpg", b"text", sync=False)
    assert calls == ["fsync", "replace", "replace"]


def test_two_threads_write_the_same_path_without_disturbing_each_other(tmp_path: Path) -> None:
    path, texts = tmp_path / "shared.txt", ["a" * 100_000, "b" * 100_000]

    def write(text: str) -> None:
        for _ in range(20):
            atomic_write_text(path, text)
            assert path.read_text() in texts

    threads = [threading.Thread(target=write, args=[text]) for text in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert path.read_text() in texts and list(tmp_path.iterdir()) == [path]


def test_it_is_the_only_place_that_moves_a_file_into_place() -> None:
    """os.replace is called for files in this module only. The cache of predictions moves a folder, and a copied video
    is renamed in a folder that may have been moved meanwhile."""
    users = set()
    for package in ("realtime_polyp", "trainers", "calibration"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Attribute) and ast.unparse(node) in ("os.replace", "os.rename", "shutil.move"):
                    users.add(path.name)
    assert users == {"atomic_write.py", "file_copy.py", "prediction_cache.py"}
