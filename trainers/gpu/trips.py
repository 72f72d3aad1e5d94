"""Trips to the GPU machine: files put into folders that each fit beside the working tree, split where they must be.

A call to that machine sends the working tree and the ignored folders that it names, 64 MiB in all. Every trip's folder
holds the list of all files and of the trips that they are in, so one trip is enough to name those that are missing.
"""

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from msgspec import Meta, Struct

from realtime_polyp.atomic_write import replacing, write_json
from realtime_polyp.engines.weights import sha256_of
from realtime_polyp.json_files import Count, read_json

MOST_BYTES = 64 << 20
"""What one call may send: the working tree and the folders that it names."""
MARGIN_BYTES = 2 << 20
"""Kept free: edits follow the packing, and the machine counts a little more than the files (63.9 MiB were refused)."""
LIST = "trip.json"
WHEELS = "wheels"
_FORMAT = 1
_LEAST_PIECE_BYTES = 64 << 10
_BLOCK_BYTES = 1 << 20
_CURE = "pack the trips again with python -m trainers.gpu.pack"


@dataclass(frozen=True)
class Piece:
    """A part of a file that travels in one trip.

    Attributes:
        name: of the file.
        number: of the piece, from 1.
        start, length: bytes of the file.
        trip: number of the trip, from 1.
    """

    name: str
    number: int
    start: int
    length: int
    trip: int


class PackedFile(Struct):
    """A file of the list: its checksum and its pieces, each [trip, length]."""

    bytes: Count
    sha256: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
    pieces: list[tuple[Count, Count]]


class TripList(Struct):
    """The list in every trip's folder."""

    format: int
    trips: Annotated[int, Meta(ge=1, le=99)]
    files: dict[Annotated[str, Meta(pattern=r"^\w[\w.+-]*\Z")], PackedFile]


def tree_bytes(root: Path) -> int:
    """Return the size of the files that every call sends: tracked, and untracked but not ignored.

    Raises:
        ValueError: `root` is no git checkout.
    """
    command = ["git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--deduplicate"]
    listed = subprocess.run(command, capture_output=True)
    if listed.returncode:
        raise ValueError(f"{root} is no git checkout: {listed.stderr.decode(errors='replace').strip()}")
    names = filter(None, listed.stdout.decode(errors="surrogateescape").split("\0"))
    return sum((root / name).lstat().st_size for name in names if os.path.lexists(root / name))


def room_beside(root: Path) -> int:
    """Return the bytes that one trip may have. Raises ValueError if the working tree leaves none."""
    room = MOST_BYTES - MARGIN_BYTES - tree_bytes(root)
    if room < 1 << 20:
        raise ValueError(
            f"the working tree has {tree_bytes(root) / 2**20:.1f} MiB, and one call sends {MOST_BYTES >> 20} MiB at "
            "most: too little is left for a trip"
        )
    return room


def plan_trips(whole: dict[str, int], files: dict[str, int], room: int) -> list[Piece]:
    """Distribute files over trips of at most `room` bytes.

    whole: {name: bytes} of the files that stay in one piece, each in the first trip that has room for it.
    files: {name: bytes} of the others, which fill what is left, in their order.

    Raises:
        ValueError: a file that must stay whole is larger than a trip.
    """
    free: list[int] = []
    pieces = []
    for name, size in whole.items():
        if size > room:
            raise ValueError(f"{name} has {size / 2**20:.1f} MiB, and a trip {room / 2**20:.1f} MiB at most")
        trip = next((number for number, left in enumerate(free) if left >= size), len(free))
        free += [room] * (trip == len(free))
        free[trip] -= size
        pieces.append(Piece(name, 1, 0, size, trip + 1))
    trip = 0
    for name, size in files.items():
        start, number = 0, 1
        while start < size or number == 1:
            free += [room] * (trip == len(free))
            if free[trip] < min(size - start, _LEAST_PIECE_BYTES):
                trip += 1
                continue
            length = min(free[trip], size - start)
            free[trip] -= length
            pieces.append(Piece(name, number, start, length, trip + 1))
            start, number = start + length, number + 1
    return pieces


def write_trips(files: Sequence[Path], wheels: Sequence[Path], kit: Path, room: int) -> list[Path]:
    """Write the folders `trip1`, `trip2`, ... of the kit, and return them. Those of an earlier call are replaced.

    wheels: stay whole, so that pip can install them before anything else runs.
    """
    sources = {path.name: path for path in (*wheels, *files)}
    sizes = {name: path.stat().st_size for name, path in sources.items()}
    whole = {path.name: sizes[path.name] for path in wheels}
    pieces = plan_trips(whole, {path.name: sizes[path.name] for path in files}, room)
    listed = {
        name: {
            "bytes": sizes[name],
            "sha256": sha256_of(path),
            "pieces": [(piece.trip, piece.length) for piece in pieces if piece.name == name],
        }
        for name, path in sources.items()
    }
    for old in trip_folders(kit):
        shutil.rmtree(old)
    trips = max(piece.trip for piece in pieces)
    folders = [kit / f"trip{number}" for number in range(1, trips + 1)]
    for folder in folders:
        (folder / WHEELS).mkdir(parents=True)
        content = {"format": _FORMAT, "trips": trips, "files": listed}
        write_json(folder / LIST, content)
    for piece in pieces:
        name = f"{WHEELS}/{piece.name}" if piece.name in whole else f"{piece.name}.{piece.number}"
        _write_piece(piece, sources[piece.name], folders[piece.trip - 1] / name)
    return folders


def _write_piece(piece: Piece, source: Path, target: Path) -> None:
    with source.open("rb") as file, replacing(target) as path:
        file.seek(piece.start)
        path.write_bytes(file.read(piece.length))


def trip_folders(kit: Path) -> list[Path]:
    """Return the trips' folders that are in the kit, in order."""
    found = [folder for folder in kit.glob("trip*") if folder.is_dir() and folder.name[4:].isdecimal()]
    return sorted(found, key=lambda folder: int(folder.name[4:]))


def folder_bytes(folder: Path) -> int:
    """Return the size of all files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def join_file(name: str, kit: Path, target: Path) -> None:
    """Put the pieces of a file together.

    Raises:
        FileNotFoundError: trips are missing; the message names them.
        ValueError: a piece or the list is damaged.
    """
    folders = trip_folders(kit)
    if not folders:
        raise FileNotFoundError(f"no trip is in {kit}: carry {kit}/trip1")
    listed = read_json(folders[0] / LIST, TripList, what="the list of a trip", cure=_CURE)
    if name not in listed.files:
        raise FileNotFoundError(f"the trips bring no {name}: {_CURE}")
    packed = listed.files[name]
    paths = [kit / f"trip{trip}" / f"{name}.{number}" for number, (trip, _) in enumerate(packed.pieces, 1)]
    missing = sorted({path.parent.name for path in paths if not path.is_file()})
    if missing:
        raise FileNotFoundError(f"{name} is incomplete: carry {', '.join(f'{kit}/{trip}' for trip in missing)}")
    with replacing(target, sync=False) as joined:
        with joined.open("wb") as file:
            for path in paths:
                with path.open("rb") as piece:
                    shutil.copyfileobj(piece, file, _BLOCK_BYTES)
        if sha256_of(joined) != packed.sha256:
            raise ValueError(f"{name} is damaged or its pieces are of several packings: {_CURE}")
