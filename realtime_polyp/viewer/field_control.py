"""The field of view of the source that plays: named by a person, remembered for the source, or found. No Qt."""

from collections.abc import Callable
from pathlib import Path

from realtime_polyp.field_memory import recall_field, remember_field
from realtime_polyp.field_of_view import FieldOfView
from realtime_polyp.pipeline import Pipeline


class FieldControl:
    """Names the field of view of a pipeline's frames.

    pipeline: of the source. place: the source as it is remembered. size: (width, height) of its picture, px. memory:
    the file of remembered fields; None: nothing is remembered. on_change: called with each new field.

    A remembered field is taken at once, unless the pipeline already has one, as from --field.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        place: str,
        size: tuple[int, int],
        memory: Path | None = None,
        on_change: Callable[[FieldOfView | None], None] = lambda field: None,
    ) -> None:
        self._pipeline, self._place, self._size, self._memory = pipeline, place, size, memory
        self._on_change = on_change
        remembered = recall_field(memory, place, size) if memory and not self.named else None
        self.is_remembered = remembered is not None
        if remembered and remembered.inside(*size) == remembered:
            pipeline.set_field(remembered)

    @property
    def named(self) -> FieldOfView | None:
        """The field that a person named; None while it is found."""
        return self._pipeline.config.field

    @property
    def rival(self) -> FieldOfView | None:
        """Another picture in the newest frames that may be the endoscope's."""
        return self._pipeline.analyzer.field_rival

    def name(self, field: FieldOfView | None) -> bool:
        """Take a field from the next frame on, or find it again; returns whether that is remembered."""
        self._pipeline.set_field(field)
        self._on_change(field)
        if self._memory:
            remember_field(self._memory, self._place, self._size, field)
        return self._memory is not None


def place_of(source: str) -> str:
    """The source as it is remembered: a path that holds from any folder, or the text itself."""
    path = Path(source)
    try:
        return str(path.resolve()) if path.exists() else source
    except (OSError, ValueError, RuntimeError):
        return source
