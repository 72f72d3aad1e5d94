"""Finds the field of view over time."""

from realtime_polyp.field_of_view import LEAST_SIDE_PX, FieldOfView, FieldSearch, Image, search_field, whole

_FIELD_EVERY_S = 0.5
_SHRINK_AFTER = 4  # searches in a row that find a clearly smaller field, or one elsewhere, before the field changes
_ELSEWHERE = 0.5  # of the smaller field: two fields that share less are two pictures


def doubt_text(field: FieldOfView, rival: FieldOfView) -> str:
    """One sentence for a person who was not asked which of two pictures is the endoscope's."""
    return f"two pictures in the frame may be the endoscope's: {field} was analysed; --field {rival} takes the other"


class FieldFinder:
    """Searches for the field of view; it grows at once, and shrinks or moves only when several searches agree.

    A dark lumen at the rim looks like a smaller field for a moment, a changed layout for good. Where a frame has two
    pictures, the other one may look like the endoscope's for a moment.

    named: the field that a person named, source px: nothing is searched, unless the image holds no more than a strip of
        it, as after a change of size.
    rival: another picture that may be the endoscope's; None: none, or nothing was searched.
    """

    def __init__(self, named: FieldOfView | None = None) -> None:
        self.named = named
        self.rival: FieldOfView | None = None
        self._field: FieldOfView | None = None
        self._shape: tuple[int, ...] = ()
        self._next_search_s = 0.0
        self._smaller: list[FieldOfView] = []

    def update(self, image: Image, pts_s: float) -> FieldOfView:
        """Return the field of an image (H, W, 3); the whole frame until one has been found."""
        if self.named and (cut := _cut_named(self.named, image)):
            self.rival = None
            return cut
        if image.shape != self._shape:
            self._shape, self._field, self._next_search_s = image.shape, None, pts_s
            self.rival = None
            self._smaller.clear()  # their px are those of the other size
        if pts_s >= self._next_search_s or self._field is None:
            self._next_search_s = pts_s + _FIELD_EVERY_S
            self._learn(search_field(image))
        return self._field or whole(image)

    def _learn(self, search: FieldSearch | None) -> None:
        if search is None:
            return
        found, self.rival = search.field, search.rival
        if self._field is None:
            self._field = found
        elif self._is_smaller(found, self._field) or self._is_elsewhere(found, self._field):
            self._smaller.append(found)
        else:
            self._field = self._field.union(found)
            self._smaller.clear()
        if len(self._smaller) == _SHRINK_AFTER:
            first, *others = self._smaller
            for other in others:
                first = first.union(other)
            self._field = first
            self._smaller.clear()

    @staticmethod
    def _is_smaller(found: FieldOfView, field: FieldOfView) -> bool:
        is_narrow = found.width < 0.9 * field.width or found.height < 0.9 * field.height
        return field.contains(found) and is_narrow

    @staticmethod
    def _is_elsewhere(found: FieldOfView, field: FieldOfView) -> bool:
        smaller_px = min(found.width * found.height, field.width * field.height)
        return found.overlap_px(field) < _ELSEWHERE * smaller_px


def _cut_named(named: FieldOfView, image: Image) -> FieldOfView | None:
    """Cut a named field to the image; None where no more than a strip is left, as in a picture of another size."""
    height, width = image.shape[:2]
    cut = named.inside(width, height)
    if cut is None or (cut != named and min(cut.width, cut.height) < LEAST_SIDE_PX):
        return None
    return cut
