"""What a run writes of itself when it begins, and all that read it later: its name, size, loop, and what differs."""

import json
from pathlib import Path
from typing import Any

from realtime_polyp.atomic_write import replacing

RECIPE = "recipe.json"
_NEEDED = ("config", "task", "size", "init", "differs", "loop")


def write_recipe(content: dict[str, Any], run: Path) -> None:
    run.mkdir(parents=True, exist_ok=True)
    with replacing(run / RECIPE) as path:
        path.write_text(json.dumps(content, indent=1) + "\n")


def read_recipe(run: Path) -> dict[str, Any]:
    """Raises FileNotFoundError where there is no run, ValueError naming a file that is harmed."""
    path = run / RECIPE
    if not path.is_file():
        raise FileNotFoundError(f"{run} is no training run: it has no {RECIPE}")
    try:
        content = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path} is harmed: {error}") from error
    if not isinstance(content, dict) or any(name not in content for name in _NEEDED):
        raise ValueError(f"{path} is harmed: it does not hold {', '.join(_NEEDED)}")
    return content
