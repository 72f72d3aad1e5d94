"""The names that published checkpoints give their tensors, turned into ours: rules, applied one after the other."""

import re
from collections.abc import Sequence

from torch import Tensor

State = dict[str, Tensor]
Rule = tuple[str, str]  # a regular expression over a whole name, and what takes its place


def rename(state: State, rules: Sequence[Rule]) -> State:
    """Each tensor under the name that the first rule matching its whole name gives it; without one, its own."""
    return {_renamed(name, rules): value for name, value in state.items()}


def _renamed(name: str, rules: Sequence[Rule]) -> str:
    for pattern, replacement in rules:
        found = re.fullmatch(pattern, name)
        if found:
            return found.expand(replacement)
    return name


def from_mmdet(state: State, head: Sequence[Rule]) -> State:
    """A detector's state under mmdetection's names (neck, heads) -> under ours: pyramid, and what `head` says."""
    laterals = len({name for name in state if re.fullmatch(r"neck\.lateral_convs\.\d+\.conv\.weight", name)})
    return rename(state, [*_fpn_rules(laterals), *head])


def _fpn_rules(laterals: int) -> list[Rule]:
    """mmdetection numbers the convolutions of the extra levels on after the smoothing ones."""
    rules = [(r"neck\.lateral_convs\.(\d+)\.conv\.(.*)", r"pyramid.lateral.\1.\2")]
    for index in range(laterals):
        rules.append((rf"neck\.fpn_convs\.{index}\.conv\.(.*)", rf"pyramid.smooth.{index}.\1"))
    for index in range(16):
        rules.append((rf"neck\.fpn_convs\.{laterals + index}\.conv\.(.*)", rf"pyramid.extra.{index}.\1"))
    return rules
