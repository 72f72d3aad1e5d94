"""The error of everything that watches the program."""

import importlib.util


class OperationsError(ValueError):
    """Metrics, the log or the remote page cannot be started; one sentence with the cure."""


def require(option: str, packages: tuple[str, ...], extra: str) -> None:
    """Raise OperationsError where a package of an extra is not installed. packages: names that are imported."""
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        raise OperationsError(
            f"{option} needs {' and '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} not installed: "
            f"pip install 'realtime-polyp[{extra}]' (in a checkout: pip install -e '.[{extra}]')"
        )
