"""How much of the time a device had nothing to do, from the spans of what it did."""

from collections.abc import Iterable


def idle_share(spans: Iterable[tuple[float, float]]) -> float:
    """The share of the time from the first start to the last end that no span (start_s, end_s) covers; 0 of no time.

    Spans may overlap and come in any order: what two lanes did at once counts once.
    """
    ordered = sorted(spans)
    if not ordered:
        return 0.0
    began_s = covered_to_s = ordered[0][0]
    idle_s = 0.0
    for start_s, end_s in ordered:
        idle_s += max(0.0, start_s - covered_to_s)
        covered_to_s = max(covered_to_s, end_s)
    return idle_s / (covered_to_s - began_s) if covered_to_s > began_s else 0.0
