"""The options for what watches the program: metrics, log, remote page."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from realtime_polyp.operations.start import OperationsConfig
from realtime_polyp.outputs.paths import check_paths

if TYPE_CHECKING:
    from realtime_polyp.cli.options import Options

_LAST_PORT = 65_535
LOOPBACK = "127.0.0.1"


def add_operations(parser: argparse.ArgumentParser) -> None:
    """Add the options; see docs/operations.md."""
    group = parser.add_argument_group("operations")
    group.add_argument(
        "--metrics",
        type=int,
        metavar="PORT",
        help="serve Prometheus metrics and a health page on this port, to this machine only; 0: a free port",
    )
    group.add_argument("--log", type=Path, metavar="FILE", help="append what happens as JSON lines, without any name")
    group.add_argument(
        "--remote",
        type=int,
        metavar="PORT",
        help="serve a read-only page with the annotated picture, behind a token, to this machine only; 0: a free port",
    )
    group.add_argument(
        "--remote-host",
        metavar="ADDRESS",
        help="with --remote: listen on this address of the machine instead; the picture is then sent unencrypted",
    )
    group.add_argument(
        "--remote-token", type=Path, metavar="FILE", help="with --remote: the token's file (default: the user's own)"
    )


def check_operations(parser: argparse.ArgumentParser, found: dict[str, Any]) -> None:
    """Refuse values that cannot be used; exits with one sentence."""
    for name in ("metrics", "remote"):
        if found[name] is not None and not 0 <= found[name] <= _LAST_PORT:
            parser.error(f"--{name} must be a port from 0 to {_LAST_PORT}, got {found[name]}")
    if found["metrics"] and found["metrics"] == found["remote"]:
        parser.error(f"--metrics and --remote need a port each, got {found['metrics']} twice")
    for name in ("remote_host", "remote_token"):
        if found[name] is not None and found["remote"] is None:
            parser.error(f"--{name.replace('_', '-')} needs --remote PORT")


def operations_config(options: "Options") -> OperationsConfig:
    """What watches the program. The remote page leaves out what may name a patient unless --no-blank-outside."""
    return OperationsConfig(
        options.metrics,
        options.log,
        options.remote,
        options.remote_host or LOOPBACK,
        options.remote_token,
        options.blank_outside is not False,
    )


def check_log(options: "Options") -> None:
    """Refuse a log that is the source or another output; an earlier log is continued. Raises OutputError."""
    if options.log:
        files = [path for spec in options.output_specs for path in (spec.results, spec.save, spec.events)]
        check_paths(options.sources, [*files, *options.files, options.log], overwrite=True)
