"""Decoding on a GPU: where there is none, the same pictures come from software, and the source says so."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from conftest import needs
from media import number_of, released, spoil_bytes, write_clip, write_sound
from nv12_toys import nv12_frame, textured

from realtime_polyp.nv12 import nv12_of
from realtime_polyp.sources import FileSource, SourceError
from realtime_polyp.sources.hardware import decoder_name, decodes_on, hwaccel_for
from realtime_polyp.sources.picture import RgbConverter

BT709, UNTAGGED, BT2020, LIMITED, FULL = 1, 2, 9, 1, 2
HAS_GPU = torch.cuda.is_available()
without_gpu = pytest.mark.skipif(HAS_GPU, reason="this machine has a GPU that may decode")
with_gpu = needs("cuda")
LARGE_ENOUGH = (256, 192)  # (width, height) px: GPUs refuse pictures that are smaller than a stamp


@without_gpu
@pytest.mark.parametrize("codec", ["libx264", "libx265", "mpeg4"])
def test_a_gpu_that_is_not_there_leaves_it_to_software(tmp_path: Path, codec: str) -> None:
    path = write_clip(tmp_path / "a.mp4", codec=codec)
    asked, plain = FileSource(path, hardware="cuda"), FileSource(path)
    assert hwaccel_for(path, "cuda") is None
    assert asked.decoder == plain.decoder and asked.decoder.endswith(" (software)")
    found, expected = list(asked.frames()), list(plain.frames())
    assert [number_of(frame.image) for frame in found] == list(range(12))
    for one, other in zip(found, expected, strict=True):
        assert one.pts_s == other.pts_s and np.array_equal(one.image, other.image)


@without_gpu
def test_a_loop_and_a_start_in_the_middle_fall_back_too(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4")
    source = FileSource(path, hardware="cuda", start_s=0.8, loop=True)
    frames = source.frames()
    assert [number_of(next(frames).image) for _ in range(6)] == [8, 9, 10, 11, 8, 9]
    source.close()


def test_the_decoder_is_named_with_the_way_it_goes(tmp_path: Path) -> None:
    assert FileSource(write_clip(tmp_path / "a.mp4")).decoder == "h264 (software)"
    assert decoder_name("hevc", av.codec.hwaccel.HWAccel("cuda"), "cuda") == "hevc (cuda)"
    assert decoder_name("hevc", None, "cuda") == "hevc (software)"


@pytest.mark.parametrize("content", [b"no video at all", b"\0\0\0\x18ftypmp42" + bytes(64)])
def test_a_file_that_cannot_be_read_is_refused_as_without_a_gpu(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(content)
    with pytest.raises(SourceError) as asked:
        FileSource(path, hardware="cuda")
    with pytest.raises(SourceError) as plain:
        FileSource(path)
    assert str(asked.value) == str(plain.value)


def test_trying_a_gpu_out_leaves_no_file_open(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mp4")
    sound = write_sound(tmp_path / "sound.mp4")
    for path in (clip, sound):
        with released(path):
            assert not decodes_on("cuda", path) or (HAS_GPU and path == clip)
    assert not decodes_on("cuda", tmp_path / "absent.mp4")


@with_gpu
@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_a_gpu_decodes_the_pictures_that_software_decodes(tmp_path: Path, codec: str) -> None:
    path = write_clip(tmp_path / "a.mp4", codec=codec, size=LARGE_ENOUGH, colour=(BT709, FULL), rotation=90)
    asked, plain = FileSource(path, hardware="cuda"), FileSource(path)
    assert asked.decoder.endswith(" (cuda)") and plain.decoder.endswith(" (software)")
    for one, other in zip(asked.frames(), plain.frames(), strict=True):
        assert one.pts_s == other.pts_s and np.array_equal(one.image, other.image)


@with_gpu
def test_a_damaged_file_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    path = spoil_bytes(write_clip(tmp_path / "a.mp4", size=LARGE_ENOUGH), start=0.5, length=200)
    source = FileSource(path, hardware="cuda")
    assert list(source.frames()) and source.warning


# pictures as GPUs deliver them


@pytest.mark.parametrize("matrix", [BT709, 5, UNTAGGED, BT2020])
@pytest.mark.parametrize("colour_range", [LIMITED, FULL])
@pytest.mark.parametrize("size", [(240, 180), (241, 180)])
def test_nv12_is_shown_exactly_as_the_planes_that_software_decodes(
    matrix: int, colour_range: int, size: tuple[int, int]
) -> None:
    frame = nv12_frame(textured(size), matrix, colour_range)
    planar = frame.reformat(format="yuv420p")
    planar.colorspace, planar.color_range = matrix, colour_range
    assert np.array_equal(RgbConverter()(frame), RgbConverter()(planar))


def test_planes_are_handed_on_only_where_the_picture_is_shown_as_it_was_stored() -> None:
    frame = nv12_frame(textured((240, 180)), BT709, LIMITED)
    planes = RgbConverter().planes(frame)
    assert planes is not None and planes.matrix == "bt709" and not planes.full_range
    assert np.array_equal(planes.luma, nv12_of(frame, "bt709").luma) and planes.chroma.shape == (90, 120, 2)
    assert RgbConverter(Fraction(16, 11)).planes(frame) is None  # shown wider
    assert RgbConverter().planes(frame.reformat(format="yuv420p")) is None
    assert RgbConverter().planes(nv12_frame(textured((240, 180)), BT2020, LIMITED)) is None


def test_turned_pictures_are_not_handed_on_as_planes(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", count=1, rotation=90)
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0)).reformat(format="nv12")
    assert RgbConverter().planes(frame) is None
