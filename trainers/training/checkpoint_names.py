"""Rules that translate the tensor names of published checkpoints to ours."""

import re
from collections.abc import Sequence

from torch import Tensor

State = dict[str, Tensor]
Rule = tuple[str, str]  # a regular expression that matches a whole name, and its replacement


def rename(state: State, rules: Sequence[Rule]) -> State:
    """Rename each tensor by the first rule that matches its whole name; without a match it keeps its name."""
    return {_renamed(name, rules): value for name, value in state.items()}


def _renamed(name: str, rules: Sequence[Rule]) -> str:
    for pattern, replacement in rules:
        found = re.fullmatch(pattern, name)
        if found:
            return found.expand(replacement)
    return name


def from_mmdet(state: State, head: Sequence[Rule]) -> State:
    """Rename the pyramid and the head (by the rules `head`) of a detector of mmdetection."""
    laterals = len({name for name in state if re.fullmatch(r"neck\.lateral_convs\.\d+\.conv\.weight", name)})
    return rename(state, [*_fpn_rules(laterals), *head])


def _fpn_rules(laterals: int) -> list[Rule]:
    """In mmdetection the numbers of the extra levels continue after those of the smoothing convolutions."""
    rules = [(r"neck\.lateral_convs\.(\d+)\.conv\.(.*)", r"pyramid.lateral.\1.\2")]
    for index in range(laterals):
        rules.append((rf"neck\.fpn_convs\.{index}\.conv\.(.*)", rf"pyramid.smooth.{index}.\1"))
    for index in range(16):
        rules.append((rf"neck\.fpn_convs\.{laterals + index}\.conv\.(.*)", rf"pyramid.extra.{index}.\1"))
    return rules
