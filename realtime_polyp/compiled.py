"""Compile functions with numba and keep the machine code: beside the source, else in the user's cache, else nowhere."""

import hashlib
import os
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numba
from numba.core import caching, config
from numba.core.dispatcher import Dispatcher

from realtime_polyp.folders import cache_folder, private_folder, require_private

F = TypeVar("F", bound=Callable[..., Any])
_DIGEST_BYTES = hashlib.sha256().digest_size
# What a file of another version may raise when it is loaded: the checksum keeps damaged files from being unpickled.
_LOAD_ERRORS = (
    *(RuntimeError, OSError, ValueError, TypeError, AttributeError, LookupError, ImportError, AssertionError),
    *(EOFError, MemoryError, pickle.UnpicklingError),
)
_warned = False

# numba would read settings, such as the folder of its pickles, from an untrusted file in the current folder.
config._config_fname = os.devnull
config.reload_config()


def compiled(**options: Any) -> Callable[[F], F]:
    """Decorate a function so that numba compiles it, with numba.njit's `options`, and keeps the machine code.

    The code is kept in NUMBA_CACHE_DIR where that is set, in `__pycache__` beside the source, or in the user's cache
    folder: in the first of them that this user can write and nobody else can, since whoever writes there decides what
    is run. Where there is none, one sentence on standard error says so, and the function is compiled again by each
    process. A damaged file is replaced. Code that was kept is used as long as the files of the function and of all
    compiled functions that it can call have not changed.
    """

    def decorate(function: F) -> F:
        dispatcher = numba.njit(**options)(function)
        try:
            dispatcher._cache = _Cache(function)
        except RuntimeError:  # numba: no locator has a folder
            _warn_once(_unusable(function))
        return dispatcher  # type: ignore[no-any-return]

    return decorate


def _unusable(function: Any) -> str:
    """Return why the user's cache folder cannot be used."""
    locator = _UserCacheLocator(function, function.__code__.co_filename)
    try:
        locator.ensure_cache_path()
        return f"{locator.get_cache_path()} cannot be used"
    except OSError as error:
        return f"{error.filename or locator.get_cache_path()} cannot be used ({error.strerror})"


def _warn_once(problem: str) -> None:
    global _warned
    if not _warned:
        _warned = True
        print(
            f"realtime-polyp: compiled code cannot be kept, because {problem}: every start takes seconds longer; set "
            "XDG_CACHE_HOME to a folder that only you can write",
            file=sys.stderr,
        )


class _InTreeLocator(caching.InTreeCacheLocator):
    """`__pycache__` beside the source."""

    def ensure_cache_path(self) -> None:
        super().ensure_cache_path()
        require_private(Path(self._cache_path))


class _UserCacheLocator(caching.InTreeCacheLocator):
    """The project's folder in the user's cache."""

    def __init__(self, py_func: Any, py_file: str) -> None:
        super().__init__(py_func, py_file)
        self._cache_path = os.path.join(self.base(), self.get_suitable_cache_subpath(py_file))

    @staticmethod
    def base() -> str:
        return str(cache_folder() / "numba")

    def ensure_cache_path(self) -> None:
        private_folder(Path(self._cache_path))


class _NamedLocator(_UserCacheLocator):
    """The folder in NUMBA_CACHE_DIR."""

    @staticmethod
    def base() -> str:
        return os.environ.get("NUMBA_CACHE_DIR", "")

    @classmethod
    def from_function(cls, py_func: Any, py_file: str) -> Any:
        return super().from_function(py_func, py_file) if cls.base() else None


class _CacheImpl(caching.CompileResultCacheImpl):
    _locator_classes = [_NamedLocator, _InTreeLocator, _UserCacheLocator]


class _CacheFile(caching.IndexDataCacheFile):
    """An index and files of machine code; each begins with its checksum."""

    def _load_index(self) -> Any:
        try:
            version, stamp, overloads = pickle.loads(self._read(self._index_path))
        except FileNotFoundError:
            return {}
        return overloads if (version, stamp) == (self._version, self._source_stamp) else {}

    def _save_index(self, overloads: Any) -> None:
        self._write(self._index_path, (self._version, self._source_stamp, overloads))

    def _load_data(self, name: str) -> Any:
        return pickle.loads(self._read(self._data_path(name)))

    def _save_data(self, name: str, data: Any) -> None:
        self._write(self._data_path(name), data)

    def _read(self, path: str) -> bytes:
        """Raises ValueError if the content fails its checksum, PermissionError if another user can write the file."""
        require_private(Path(path))
        with open(path, "rb") as file:
            digest, data = file.read(_DIGEST_BYTES), file.read()
        if hashlib.sha256(data).digest() != digest:
            raise ValueError(f"{path} fails its checksum")
        return data

    def _write(self, path: str, content: Any) -> None:
        dumped = self._dump(content)
        with self._open_for_write(path) as file:
            if hasattr(os, "fchmod"):
                os.fchmod(file.fileno(), 0o644)  # whatever the umask: see `_read`
            file.write(hashlib.sha256(dumped).digest() + dumped)


def _source_stamp(function: Any) -> list[tuple[str, int, int]]:
    """Name, time of change and size of each file that the machine code of a function is made of.

    Numba itself looks at the function's own file only, and would go on with the old code of a function that it calls.
    """
    files, waiting = set[str](), [function]
    while waiting:
        one = waiting.pop()
        if one.__code__.co_filename not in files:
            files.add(one.__code__.co_filename)
            waiting += [other.py_func for other in one.__globals__.values() if isinstance(other, Dispatcher)]
    found = ((file, os.stat(file)) for file in sorted(files))
    return [(os.path.basename(file), stat.st_mtime_ns, stat.st_size) for file, stat in found]


class _Cache(caching.FunctionCache):
    """Numba's cache, except that files which cannot be read or written do no harm."""

    _impl_class = _CacheImpl

    def __init__(self, py_func: Any) -> None:
        super().__init__(py_func)
        self._cache_file = _CacheFile(self._cache_path, self._impl.filename_base, _source_stamp(py_func))

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        try:
            return super().load_overload(sig, target_context)
        except _LOAD_ERRORS:
            try:
                self.flush()
            except OSError as error:
                self._give_up(error)
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        try:
            super().save_overload(sig, data)
        except OSError as error:  # a full disk, a folder in the file's place, or one that went away
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        self.disable()
        _warn_once(f"{error.filename2 or error.filename or self.cache_path} cannot be written ({error.strerror})")
