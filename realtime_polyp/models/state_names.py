"""Names of parameters in files that earlier versions wrote."""

import re
from collections.abc import Mapping
from typing import TypeVar

T = TypeVar("T")
_OLD_BACKBONE = re.compile(r"(^|\.)trunk\.")


def upgrade_state(state: Mapping[str, T]) -> dict[str, T]:
    """The same values under today's parameter names.

    The backbone's parameters were called `trunk.*` (a segmenter's `fusion.trunk.*`) until version 0.1. Older
    run folders and older weights keep these names.

    Args:
        state: {name of a parameter or module: value}, old or new names.
    """
    return {_OLD_BACKBONE.sub(r"\1backbone.", name): value for name, value in state.items()}
