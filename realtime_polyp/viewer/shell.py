"""One window after another: the start page, a source, the next source, until the last window is closed."""

import sys
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from realtime_polyp.cli.main import PROGRAM, USER_ERRORS, report, warn
from realtime_polyp.cli.opening import capture_text, open_named
from realtime_polyp.cli.options import Options
from realtime_polyp.cli.preferences import apply_settings
from realtime_polyp.console import EXIT_BAD_INPUT, EXIT_INTERRUPTED
from realtime_polyp.outputs import OutputError
from realtime_polyp.recent import Recent, recent_path
from realtime_polyp.runtime import Runtime, RuntimeConfig, open_runtime, reconfigure
from realtime_polyp.settings import Settings, SettingsError, read_settings, settings_path
from realtime_polyp.sources import Source, is_device
from realtime_polyp.sources.capture_modes import CaptureRequest
from realtime_polyp.sources.paths import exists
from realtime_polyp.telemetry.board import Board
from realtime_polyp.telemetry.trace import Trace
from realtime_polyp.viewer.app import run_start_page
from realtime_polyp.viewer.host import START_PAGE, Host, Request
from realtime_polyp.viewer.opening import check, is_session


def run_windows(options: Options, trace: Trace | None, board: Board | None = None) -> int:
    """Show what the command line names, else the start page, and then whatever the user opens; returns the exit code.

    Raises what `open_source` and `open_runtime` raise for the source of the command line, OutputError when one of its
    outputs failed, and SettingsError for settings that the command line names. The user's own settings never prevent
    the window from opening: what is wrong with them is shown.
    """
    host = open_host(options)
    host.board = board or host.board
    shell = Shell(options, host, Runtimes(trace))
    request: Request | None = first_request(options)
    try:
        while request is not None:
            shell.show(request)
            request = host.take_request()
    finally:
        host.drop_curtain()
        shell.runtimes.close()
    return shell.code


def first_request(options: Options) -> Request:
    """What the command line names, else the start page."""
    if options.review:
        return Recent("session", str(options.review))
    if options.sources:
        return Recent("session" if is_session(options.source) else "source", options.source)
    return START_PAGE


def open_host(options: Options) -> Host:
    """Read the settings. Raises SettingsError for those that the command line names."""
    recent, blank = recent_path(), options.blank_outside
    if options.settings:
        settings = read_settings(options.settings, required=True)
        return Host(settings, path=options.settings, recent=recent, blank_outside=blank)
    path = settings_path()
    try:
        settings, problem = read_settings(path), ""
    except SettingsError as error:
        settings, problem = Settings(), f"{error}. The defaults apply; the file stays as it is"
        print(f"{PROGRAM}: {problem}", file=sys.stderr)
    return Host(settings, path=path, recent=recent, problem=problem, blank_outside=blank)


class Runtimes:
    """Opens the models once for recordings and once for live sources, which they are compiled for differently."""

    def __init__(self, trace: Trace | None) -> None:
        self._trace = trace
        self._opened: dict[bool, Runtime] = {}
        self._loader = ThreadPoolExecutor(1, thread_name_prefix="load models")
        self._loading: Future[Runtime] | None = None

    def load_ahead(self, config: RuntimeConfig) -> None:
        """Start to open them on a thread, while the user chooses what to watch."""
        if config.live not in self._opened and self._loading is None:
            self._loading = self._loader.submit(self._load, config)

    def _load(self, config: RuntimeConfig) -> Runtime:
        """On a thread. The first pipeline compiles what later ones share."""
        runtime = open_runtime(config, trace=self._trace)
        runtime.pipeline()
        return runtime

    def get(self, config: RuntimeConfig) -> Runtime:
        """The models with this configuration. Raises as `open_runtime`."""
        loading, self._loading = self._loading, None
        if loading is not None:
            loaded = loading.result()
            warn(loaded)
            self._opened[loaded.config.live] = loaded
        opened = self._opened.get(config.live)
        if opened is None:
            opened = open_runtime(config, trace=self._trace)
            warn(opened)
        self._opened[config.live] = runtime = reconfigure(opened, config)
        return runtime

    def close(self) -> None:
        self._loader.shutdown(wait=False, cancel_futures=True)


class Shell:
    """Shows one request after another. code: the exit code so far, the first that is not 0."""

    def __init__(self, options: Options, host: Host, runtimes: Runtimes) -> None:
        self.options, self.host, self.runtimes = options, host, runtimes
        self.code = 0
        # The command line's source comes first: what is wrong with it is raised.
        self._named = bool(options.sources or options.review)

    def show(self, request: Request) -> None:
        """Show a window until it is closed. Raises what is wrong with the command line's source."""
        try:
            code = self._show(request)
        except OutputError as error:
            if self.host.request is None:
                raise
            self.host.message, code = str(error), report(error, EXIT_BAD_INPUT)
        except USER_ERRORS as error:
            if self._named:
                raise
            report(error, EXIT_BAD_INPUT)
            self.host.message, self.host.request, code = str(error), START_PAGE, 0  # it can be put right there
        self.code = self.code or code
        self._named = False
        if code == EXIT_INTERRUPTED:
            self.code, self.host.request = code, None

    def _show(self, request: Request) -> int:
        if isinstance(request, Recent):
            show = self.open_session_in_window if request.kind == "session" else self.open_source_in_window
            return show(request)
        self.runtimes.load_ahead(self._with_settings().runtime_config(live=False))
        return run_start_page(self.host)

    def open_source_in_window(self, request: Recent) -> int:
        """Show a video, folder of stills, device or address until its window is closed; returns the exit code."""
        from realtime_polyp.viewer.session_factory import show_source

        options = with_capture(replace(self._with_settings(), sources=(request.place,)), self.host, named=self._named)
        source = self._open(options)
        try:
            runtime = self.runtimes.get(options.runtime_config(live=source.live))
        except BaseException:
            source.close()
            raise
        self.host.add_recent(absolute(request))
        self.host.message = self.host.message or capture_text(source)
        self.options = without_outputs(self.options)
        return show_source(source, runtime, options, self.host)

    def open_session_in_window(self, request: Recent) -> int:
        """Show a recorded session until its window is closed; returns the exit code."""
        from realtime_polyp.viewer.review_session import show_session

        check(request)
        own, folder = self.options.review, Path(request.place)
        options = self.options if own == folder else replace(self.options, source_at=None)
        self.host.add_recent(absolute(request))
        return show_session(folder, options, self.host)

    def _open(self, options: Options) -> Source:
        return open_named(options, options.source, start_s=options.start_s)

    def _with_settings(self) -> Options:
        return apply_settings(self.options, self.host.settings)


def with_capture(options: Options, host: Host, *, named: bool) -> Options:
    """The options with what was chosen for a device in the window. named: the source is the command line's."""
    chosen, host.capture = host.capture, None
    asked = options.capture if named or is_device(options.source) else CaptureRequest()
    if chosen and is_device(options.source):
        asked = chosen
    return replace(
        options,
        capture_size=asked.size,
        capture_rate=asked.rate_hz,
        capture_format=asked.format,
        capture_input=asked.input,
    )


def without_outputs(options: Options) -> Options:
    """The options for what is opened later: the command line's outputs and times belong to its own source."""
    outputs = {"results": None, "save": None, "events": None, "events_pictures": None, "summary": None}
    return replace(options, **outputs, start_s=0.0, end_s=None, rate=None, field=None)  # type: ignore[arg-type]


def absolute(request: Recent) -> Recent:
    """The request with a path that holds from any folder."""
    return replace(request, place=str(Path(request.place).absolute())) if exists(request.place) else request
