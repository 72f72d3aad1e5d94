#!/usr/bin/env python
"""Render the demo clip: a colonoscopy of a phantom made of formulas and noise, with exact boxes, masks and polyp ids.

No pixel comes from a person or from a data set. The same seed gives the same clip.
"""

from __future__ import annotations

import argparse
from fractions import Fraction
from pathlib import Path

from phantom.clip import VISIBLE_RULE, write_clip
from phantom.scene import SCRIPT_S, build_scene

HERE = Path(__file__).resolve().parent

EXAMPLES = """examples:
  python assets/make_phantom.py
      the committed clip: assets/demo.mp4 and assets/demo_truth.json (half an hour on one core)
  python assets/make_phantom.py --out a.mp4 --truth a.json --size 320x180 --fps 10
      the whole journey, small: about a minute
  python assets/make_phantom.py --out b.mp4 --truth b.json --seed 8 --detail 0.5
      another colon, rays on a coarser grid: softer, twice as fast
"""


def parse_size(text: str) -> tuple[int, int]:
    """'1280x720' -> (1280, 720)."""
    width, _, height = text.partition("x")
    if not (width.isdigit() and height.isdigit()):
        raise argparse.ArgumentTypeError(f"'{text}' is no size: write WIDTHxHEIGHT, such as 1280x720")
    return int(width), int(height)


def parse_fps(text: str) -> tuple[int, int]:
    """'30' -> (30, 1), '30000/1001' -> (30000, 1001)."""
    try:
        fps = Fraction(text)
    except (ValueError, ZeroDivisionError) as error:
        raise argparse.ArgumentTypeError(f"'{text}' is no rate: write 30, 25 or 30000/1001") from error
    return fps.numerator, fps.denominator


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog=f"{EXAMPLES}\ntruth: {VISIBLE_RULE}.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--out", type=Path, default=HERE / "demo.mp4", help="the clip, H.264 in MP4 (default: assets/demo.mp4)")
    add("--truth", type=Path, default=HERE / "demo_truth.json", help="the truth (default: assets/demo_truth.json)")
    add(
        "--seconds",
        type=float,
        default=SCRIPT_S,
        help="length; the same journey, faster or slower (default: %(default)s)",
    )
    add("--seed", type=int, default=7, help="which colon; the polyps' places suit the default (default: %(default)s)")
    add("--size", type=parse_size, default=(1280, 720), metavar="WxH", help="frame size in pixels (default: 1280x720)")
    add("--fps", type=parse_fps, default=(30, 1), help="frames a second, a number or a fraction (default: 30)")
    add("--crf", type=int, default=23, help="x264 quality, lower is larger (default: %(default)s)")
    add("--detail", type=float, default=0.75, help="ray grid as a share of the field's size (default: %(default)s)")
    add("--threads", type=int, default=1, help="rendering threads; no effect on the pixels (default: %(default)s)")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Render, write, and say what was written."""
    args = parse_args(argv)
    scene = build_scene(seconds=args.seconds, fps=args.fps, seed=args.seed)
    write_clip(
        scene,
        args.out,
        args.truth,
        size=args.size,
        crf=args.crf,
        detail=args.detail,
        threads=args.threads,
        progress=True,
    )
    for path in (args.out, args.truth):
        print(f"{path}: {path.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
