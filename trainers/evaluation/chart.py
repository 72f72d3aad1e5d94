"""Draw a line chart as inline SVG. Text scales with the chart, and colours follow the page's light or dark scheme."""

import html
import math
from collections.abc import Mapping, Sequence

Points = Sequence[tuple[float, float]]

COLOURS = 6  # the page's style gives a colour to each of the classes s0, s1, ...
_WIDTH, _HEIGHT = 560, 300
_LEAST_SPREAD, _NOTHING = 1e-3, 1e-12  # keep the axis of a flat line from magnifying rounding errors
_LEFT, _RIGHT, _TOP, _FOOT = 52, 12, 30, 36


def chart(series: Mapping[str, Points], *, title: str, x_label: str) -> str:
    """Draw a chart with axes and a legend, as HTML.

    series: name -> points (x, y); points whose y is not finite are left out.

    Raises:
        ValueError: no point is finite.
    """
    points = [point for line in series.values() for point in line if math.isfinite(point[1])]
    if not points:
        raise ValueError(f"no point to draw in {title}")
    xs, ys = ticks([x for x, _ in points], whole=True), ticks([y for _, y in points])
    parts = [f'<text class="title" x="{_LEFT}" y="18">{html.escape(title)}</text>', *_grid(xs, ys, x_label)]
    for number, (name, line) in enumerate(series.items()):
        parts.append(_line(name, line, number % COLOURS, xs, ys))
    label = html.escape(f"{title}: {', '.join(series)}", quote=True)
    legend = "".join(
        f'<span class="key"><svg viewBox="0 0 24 8"><path class="s{number % COLOURS}" d="M0 4H24"/></svg>'
        f"{html.escape(name)}</span>"
        for number, name in enumerate(series)
    )
    svg = f'<svg class="chart" role="img" aria-label="{label}" viewBox="0 0 {_WIDTH} {_HEIGHT}">{"".join(parts)}</svg>'
    return f'<div class="plot">{svg}<p class="legend">{legend}</p></div>'


def ticks(values: Sequence[float], *, whole: bool = False) -> list[float]:
    """Choose about five evenly spaced round numbers that enclose the values. whole: integers only, for counts."""
    low, high = min(values), max(values)
    spread = max(high - low, _LEAST_SPREAD * max(abs(low), abs(high)))
    spread = spread if spread > _NOTHING else 1.0
    power = 10 ** math.floor(math.log10(spread / 4))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if spread / (factor * power) <= 5)
    if whole:
        step = max(1.0, math.ceil(step))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [float(f"{number * step:.8g}") for number in range(first, max(last, first + 1) + 1)]


def _x(value: float, xs: Sequence[float]) -> float:
    return _LEFT + (value - xs[0]) / (xs[-1] - xs[0]) * (_WIDTH - _LEFT - _RIGHT)


def _y(value: float, ys: Sequence[float]) -> float:
    return _HEIGHT - _FOOT - (value - ys[0]) / (ys[-1] - ys[0]) * (_HEIGHT - _TOP - _FOOT)


def _grid(xs: Sequence[float], ys: Sequence[float], x_label: str) -> list[str]:
    right, foot = _WIDTH - _RIGHT, _HEIGHT - _FOOT
    parts = [f'<path class="grid" d="M{_LEFT} {_y(y, ys):.1f}H{right}"/>' for y in ys]
    parts += [f'<text class="tick" x="{_LEFT - 6}" y="{_y(y, ys) + 4:.1f}" text-anchor="end">{y:g}</text>' for y in ys]
    parts += [f'<path class="grid" d="M{_x(x, xs):.1f} {_TOP}V{foot}"/>' for x in xs]
    parts += [f'<text class="tick" x="{_x(x, xs):.1f}" y="{foot + 15}" text-anchor="middle">{x:g}</text>' for x in xs]
    middle = (_LEFT + right) / 2
    parts.append(
        f'<text class="tick" x="{middle}" y="{_HEIGHT - 4}" text-anchor="middle">{html.escape(x_label)}</text>'
    )
    return parts


def _line(name: str, line: Points, number: int, xs: Sequence[float], ys: Sequence[float]) -> str:
    """Draw one series, with a dot at each point; its tooltip holds the value."""
    known = [(x, y) for x, y in line if math.isfinite(y)]
    path = " ".join(f"{_x(x, xs):.1f},{_y(y, ys):.1f}" for x, y in known)
    dots = "".join(
        f'<circle class="s{number}" cx="{_x(x, xs):.1f}" cy="{_y(y, ys):.1f}" r="2.4">'
        f"<title>{html.escape(name)} {x:g}: {y:.4g}</title></circle>"
        for x, y in known
    )
    return f'<polyline class="s{number}" points="{path}"/>{dots}'
