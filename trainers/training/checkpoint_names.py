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
    """Rename the neck (FPN or PAFPN) and the head (by the rules `head`) of a detector of mmdetection."""
    laterals = len({name for name in state if re.fullmatch(r"neck\.lateral_convs\.\d+\.conv\.weight", name)})
    is_pafpn = find_mmdet_neck(state) == "pafpn"
    rules = [*_PAFPN_RULES, *_fpn_rules("pyramid.fpn", laterals)] if is_pafpn else _fpn_rules("pyramid", laterals)
    return rename(state, [*rules, *head])


def find_mmdet_neck(state: State) -> str | None:
    """Return the kind of neck of a checkpoint of mmdetection, as in `NeckConfig.kind`; "other" or None without one."""
    parts = {name.split(".")[1] for name in state if name.startswith("neck.")}
    if {"downsample_convs", "pafpn_convs"} & parts:
        return "pafpn"
    if any("bifpn" in part.lower() for part in parts):
        return "bifpn"
    if {"lateral_convs", "fpn_convs"} <= parts:
        return "fpn"
    return "other" if parts else None


_PAFPN_RULES: tuple[Rule, ...] = (
    (r"neck\.downsample_convs\.(\d+)\.conv\.(.*)", r"pyramid.down.\1.\2"),
    (r"neck\.pafpn_convs\.(\d+)\.conv\.(.*)", r"pyramid.smooth.\1.\2"),
)


def _fpn_rules(pyramid: str, laterals: int) -> list[Rule]:
    """In mmdetection the numbers of the extra levels continue after those of the smoothing convolutions."""
    rules = [(r"neck\.lateral_convs\.(\d+)\.conv\.(.*)", rf"{pyramid}.lateral.\1.\2")]
    for index in range(laterals):
        rules.append((rf"neck\.fpn_convs\.{index}\.conv\.(.*)", rf"{pyramid}.smooth.{index}.\1"))
    for index in range(16):
        rules.append((rf"neck\.fpn_convs\.{laterals + index}\.conv\.(.*)", rf"{pyramid}.extra.{index}.\1"))
    return rules
