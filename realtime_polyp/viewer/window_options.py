"""How the viewer's window is set up."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from realtime_polyp.outputs.overlay import OverlayStyle
from realtime_polyp.recording.control import RecordingControl
from realtime_polyp.review.timeline_data import TimelineData
from realtime_polyp.viewer.ahead import Job
from realtime_polyp.viewer.field_control import FieldControl
from realtime_polyp.viewer.health import Watched
from realtime_polyp.viewer.host import Host
from realtime_polyp.viewer.judging import Judging
from realtime_polyp.viewer.keep_pace import SetKeepPace
from realtime_polyp.viewer.recording import Recording


@dataclass(frozen=True)
class ViewerOptions:
    """How the window is set up.

    Attributes:
        title: in the window's title bar and in the banner.
        style: how the overlay is drawn; its `min_score` can only raise the pipeline's threshold.
        snapshot_folder: created when the first snapshot is saved.
        quit_at_end: close the window when the video ends or fails.
        recording_error: returns why the recording stopped, in one sentence, or None; called several times per second.
        watched: what is watched besides the player.
        recording: returns what is being written, or None; called several times per second.
        set_keep_pace: chooses for the feeds that are opened next whether a recording is played at its own rate, though
            not every frame can be analysed; None: the source cannot. keep_pace: how it starts.
        unverified: an engine runs that has not passed the accuracy gate; the banner always says so.
        sound: start with the sound for new alarms switched on; None: with a live source.
        usual_score: the threshold that the calibration gives; a higher one is marked. None: the one at the start.
        timeline: the data of a recorded session, the same object as long as nothing changes; None: what was watched.
        ahead: what is analysed in the background for the timeline; None: nothing.
        record: records sessions; None: nothing can be recorded, as while one is reviewed.
        session: folder of the recorded session that is reviewed; None: none is.
        legend: start with the legend open. on_legend_closed: called when the user closes it.
        judging: the recorded session that is shown, to be judged; None: a source plays.
        host: what the program's windows share.
        field_control: names the source's field of view; None: a recorded session is shown.
    """

    title: str
    style: OverlayStyle = OverlayStyle()
    snapshot_folder: Path = Path("snapshots")
    quit_at_end: bool = False
    recording_error: Callable[[], str | None] = lambda: None
    watched: Watched = Watched()
    recording: Callable[[], Recording | None] = lambda: None
    set_keep_pace: SetKeepPace | None = None
    keep_pace: bool = False
    unverified: bool = False
    sound: bool | None = None
    usual_score: float | None = None
    timeline: Callable[[], TimelineData] | None = None
    ahead: Job | None = None
    legend: bool = False
    on_legend_closed: Callable[[], None] = lambda: None
    record: RecordingControl | None = None
    session: Path | None = None
    judging: Judging | None = None
    host: Host = field(default_factory=Host)
    field_control: FieldControl | None = None
