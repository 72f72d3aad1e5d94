"""The list of weights: what there is, unharmed, with the cure in every error."""

import json
from pathlib import Path

import pytest

from realtime_polyp.engines.base import EngineError
from realtime_polyp.engines.weights import add_to_manifest, find_weights, read_manifest, sha256_of


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "a.safetensors").write_bytes(b"weights")
    add_to_manifest("a", "detector", (64, 96), {"safetensors": "a.safetensors"}, tmp_path)
    return tmp_path


def test_weights_are_found_with_their_size_and_verified(folder: Path) -> None:
    weights = find_weights("a", "detector", folder)
    assert weights.size == (64, 96) and weights.task == "detector"
    assert weights.path("safetensors").read_bytes() == b"weights"


def test_unknown_weights_are_refused_with_what_there_is(folder: Path) -> None:
    with pytest.raises(EngineError, match="unknown detector 'b': choose from a, or none"):
        find_weights("b", "detector", folder)
    with pytest.raises(EngineError, match="unknown segmenter 'a': choose from none installed, or none"):
        find_weights("a", "segmenter", folder)  # of another task


def test_a_file_of_another_kind_is_refused(folder: Path) -> None:
    with pytest.raises(EngineError, match="a has no int8-xml weights: it has safetensors"):
        find_weights("a", "detector", folder).path("int8-xml")


@pytest.mark.parametrize("harm", [b"weightz", b"", b"weights\n"])
def test_a_harmed_file_is_refused(folder: Path, harm: bytes) -> None:
    (folder / "a.safetensors").write_bytes(harm)
    with pytest.raises(EngineError, match="a.safetensors fails its checksum: restore it with git checkout"):
        find_weights("a", "detector", folder).path("safetensors")


def test_a_file_that_is_gone_is_refused(folder: Path) -> None:
    (folder / "a.safetensors").unlink()
    with pytest.raises(EngineError, match="a.safetensors is missing"):
        find_weights("a", "detector", folder).path("safetensors")


def test_an_unreadable_list_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="cannot read .*manifest.json: No such file or directory; restore it"):
        read_manifest(tmp_path)
    (tmp_path / "manifest.json").write_text("{not JSON")
    with pytest.raises(EngineError, match="manifest.json is not a list of weights: it is not JSON"):
        read_manifest(tmp_path)


def test_adding_keeps_other_models_and_renews_checksums(folder: Path) -> None:
    (folder / "a.xml").write_bytes(b"graph")
    (folder / "b.safetensors").write_bytes(b"others")
    add_to_manifest("a", "detector", (64, 96), {"int8-xml": "a.xml"}, folder)
    add_to_manifest("b", "segmenter", (32, 64), {"safetensors": "b.safetensors"}, folder)
    known = json.loads((folder / "manifest.json").read_text())
    assert set(known) == {"a", "b"} and set(known["a"]["files"]) == {"safetensors", "int8-xml"}
    (folder / "a.safetensors").write_bytes(b"better weights")
    add_to_manifest("a", "detector", (64, 96), {"safetensors": "a.safetensors"}, folder)
    assert find_weights("a", "detector", folder).checksums["a.safetensors"] == sha256_of(folder / "a.safetensors")


def test_new_weights_leave_nothing_that_was_made_from_the_old_ones(folder: Path) -> None:
    (folder / "a.xml").write_bytes(b"graph")
    add_to_manifest("a", "detector", (64, 96), {"int8-xml": "a.xml"}, folder)
    add_to_manifest("a", "detector", (96, 128), {"safetensors": "a.safetensors"}, folder)
    weights = find_weights("a", "detector", folder)
    assert weights.size == (96, 128) and set(weights.files) == {"safetensors"}
    with pytest.raises(EngineError, match="a has no int8-xml weights"):
        weights.path("int8-xml")


def test_a_graph_of_another_size_than_its_weights_is_refused(folder: Path) -> None:
    (folder / "a.xml").write_bytes(b"graph")
    with pytest.raises(EngineError, match="a detector at 64x96, not a detector at 96x128: install its weights"):
        add_to_manifest("a", "detector", (96, 128), {"int8-xml": "a.xml"}, folder)
