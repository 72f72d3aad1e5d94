"""The fuzzer finds what it looks for, makes the same files again, and its own seeds are read."""

import random
import sys
from pathlib import Path

import pytest
from conftest import ROOT

sys.path.insert(0, str(ROOT))
from tests import fuzz_toys
from tests.fuzz import workers
from tests.fuzz.mutations import mutate
from tests.fuzz.workers import Task, Worker, make_file, read_one, read_seeds, run_tasks

WORDS = ("crash", "exit", "hang", "memory", "traceback", "lines", "nameless", "refused", "good")


@pytest.fixture
def seeds(tmp_path: Path) -> Path:
    folder = tmp_path / "toy"
    folder.mkdir()
    for number, word in enumerate(WORDS):
        (folder / f"{number}.txt").write_text(word)
    return tmp_path


def test_each_kind_of_fault_is_found_and_the_next_file_is_read(seeds: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "LIMIT_S", 2.0)
    monkeypatch.setattr(workers, "_PATIENCE", 1)
    tasks = [Task("toy", number) for number in range(len(WORDS))]
    one = Worker(seeds, 0, "tests.fuzz_toys")
    try:
        found = {WORDS[outcome.task.number]: outcome for outcome in run_tasks(iter(tasks), [one])}
    finally:
        one.stop()
    assert {word: outcome.kind for word, outcome in found.items()} == {
        "crash": "crash",
        "exit": "crash",
        "hang": "hang",
        "memory": "memory",
        "traceback": "traceback",
        "lines": "message",
        "nameless": "message",
        "refused": "refused",
        "good": "read",
    }
    assert found["crash"].detail == "SIGABRT" and found["exit"].detail == "exit code 3"
    assert [word for word, outcome in found.items() if not outcome.is_finding] == ["refused", "good"]


def test_a_seed_and_a_number_make_the_same_file(seeds: Path) -> None:
    files = read_seeds(seeds / "toy")
    made = [make_file(Task("toy", number), 7, files, text=True) for number in range(60)]
    assert made == [make_file(Task("toy", number), 7, files, text=True) for number in range(60)]
    assert made[:9] == [(f"{number}.txt", word.encode()) for number, word in enumerate(WORDS)]
    assert made[9:] != [make_file(Task("toy", number), 8, files, text=True) for number in range(9, 60)]


@pytest.mark.parametrize("text", [True, False])
@pytest.mark.parametrize("seed", [b"", b"a", b"\0" * 9, b'{"a": [1, {"b": 2.5}], "c": "x"}', b"[1]\n{}\n{}"])
def test_every_content_can_be_mutated(seed: bytes, text: bool) -> None:
    made = {mutate(seed, random.Random(number), text=text) for number in range(300)}
    assert len(made) > (0 if not seed else 20)


def test_a_finding_is_read_in_this_process(tmp_path: Path) -> None:
    found = read_one(Task("toy", 0), fuzz_toys.TARGETS["toy"], b"traceback", "a.txt", tmp_path)
    assert found.kind == "traceback" and "UnicodeDecodeError" in found.detail
