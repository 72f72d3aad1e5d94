"""Finds the field of view over time."""

from realtime_polyp.field_of_view import FieldOfView, Image, find_field, whole

_FIELD_EVERY_S = 0.5
_SHRINK_AFTER = 4  # searches in a row that find a clearly smaller field before the field shrinks


class FieldFinder:
    """Searches for the field of view; it grows at once and shrinks only when several searches agree.

    A dark lumen at the rim looks like a smaller field for a moment, a changed layout for good.
    """

    def __init__(self) -> None:
        self._field: FieldOfView | None = None
        self._shape: tuple[int, ...] = ()
        self._next_search_s = 0.0
        self._smaller: list[FieldOfView] = []

    def update(self, image: Image, pts_s: float) -> FieldOfView:
        """Return the field of an image (H, W, 3); the whole frame until one has been found."""
        if image.shape != self._shape:
            self._shape, self._field, self._next_search_s = image.shape, None, pts_s
        if pts_s >= self._next_search_s or self._field is None:
            self._next_search_s = pts_s + _FIELD_EVERY_S
            self._learn(find_field(image))
        return self._field or whole(image)

    def _learn(self, found: FieldOfView | None) -> None:
        if found is None:
            return
        if self._field is None or not self._field.contains(found):
            self._field = found if self._field is None else self._field.union(found)
            self._smaller.clear()
        elif self._is_smaller(found, self._field):
            self._smaller.append(found)
        else:
            self._smaller.clear()
        if len(self._smaller) == _SHRINK_AFTER:
            first, *others = self._smaller
            for other in others:
                first = first.union(other)
            self._field = first
            self._smaller.clear()

    @staticmethod
    def _is_smaller(found: FieldOfView, field: FieldOfView) -> bool:
        return found.width < 0.9 * field.width or found.height < 0.9 * field.height
