"""What of a session is written: pictures, results and jumps in order, and each part of a recording once."""

from realtime_polyp.outputs.every_picture import Drawn, EveryPicture
from realtime_polyp.outputs.group import OutputGroup
from realtime_polyp.outputs.jumps import Coverage, Jump
from realtime_polyp.packets import Frame, Result

Item = Result | Frame | Jump


class SessionWriter:
    """Passes a session on to its outputs. Owned by one thread.

    A part of a recording that is watched again is not written again. every_picture: pictures are written on their own,
    also those without a result; otherwise each result is written with its picture. Raises OutputError once nothing is
    left that writes to disk.
    """

    def __init__(self, group: OutputGroup, *, every_picture: bool = False) -> None:
        self._group, self._every_picture = group, every_picture
        self._pictures = EveryPicture()
        self._written_pictures, self._written_results = Coverage(), Coverage()

    def write(self, item: Item) -> None:
        if isinstance(item, Result):
            self._write_result(item)
        elif isinstance(item, Frame):
            self._write_pictures(self._pictures.add_picture(item))
        else:
            self._jump(item)

    def finish(self) -> None:
        """Write the pictures that still wait for a result."""
        self._write_pictures(self._pictures.flush())

    def _write_result(self, result: Result) -> None:
        if self._written_results.take(result.frame.pts_s):
            self._group.write_result(result)
        own: list[Drawn] = [(result.frame, result)]
        self._write_pictures(self._pictures.add_result(result) if self._every_picture else own)

    def _write_pictures(self, drawn: list[Drawn]) -> None:
        for frame, overlay in drawn:
            if self._written_pictures.take(frame.pts_s):
                self._group.write_picture(frame, overlay)

    def _jump(self, jump: Jump) -> None:
        self.finish()
        self._every_picture = jump.every_picture
        self._written_pictures.jump()
        self._written_results.jump()
        self._group.jump(jump)
