"""Compile functions with numba and keep the machine code: beside the source, else in the user's cache, else nowhere."""

import hashlib
import os
import pickle
import sys
from collections.abc import Callable
from typing import Any, TypeVar

import numba
from numba.core import caching

from realtime_polyp.folders import cache_folder

F = TypeVar("F", bound=Callable[..., Any])
_DIGEST_BYTES = hashlib.sha256().digest_size
# What a damaged cache file, or one of another version, may raise when it is loaded.
_DAMAGE = (
    *(RuntimeError, OSError, ValueError, TypeError, AttributeError, LookupError, ImportError, AssertionError),
    *(EOFError, MemoryError, pickle.UnpicklingError),
)
_warned = False


def compiled(**options: Any) -> Callable[[F], F]:
    """Decorate a function so that numba compiles it, with numba.njit's `options`, and keeps the machine code.

    The code is kept in NUMBA_CACHE_DIR where that is set, in `__pycache__` beside the source, or in the user's cache
    folder: in the first of them that can be written. Where none can, one sentence on standard error says so, and the
    function is compiled again by each process. A damaged cache file is replaced.
    """

    def decorate(function: F) -> F:
        dispatcher = numba.njit(**options)(function)
        try:
            dispatcher._cache = _Cache(function)
        except RuntimeError:  # numba: no locator can write
            _warn()
        return dispatcher  # type: ignore[no-any-return]

    return decorate


def _warn() -> None:
    global _warned
    if not _warned:
        _warned = True
        print(
            f"realtime-polyp: compiled code cannot be kept, because {cache_folder()} cannot be written: every start "
            "takes seconds longer; set XDG_CACHE_HOME to a folder that can",
            file=sys.stderr,
        )


class _UserCacheLocator(caching.UserProvidedCacheLocator):
    """Keeps machine code in the project's folder in the user's cache."""

    def __init__(self, py_func: Any, py_file: str) -> None:
        self._py_file = py_file
        self._lineno = py_func.__code__.co_firstlineno
        self._cache_path = os.path.join(cache_folder(), "numba", self.get_suitable_cache_subpath(py_file))

    @classmethod
    def from_function(cls, py_func: Any, py_file: str) -> Any:
        locator = cls(py_func, py_file)
        try:
            locator.ensure_cache_path()
        except OSError:
            return None
        return locator


class _CacheImpl(caching.CompileResultCacheImpl):
    _locator_classes = [caching.UserProvidedCacheLocator, caching.InTreeCacheLocator, _UserCacheLocator]


class _CacheFile(caching.IndexDataCacheFile):
    """Files of machine code that begin with their checksum."""

    def _load_data(self, name: str) -> Any:
        with open(self._data_path(name), "rb") as file:
            digest, data = file.read(_DIGEST_BYTES), file.read()
        if hashlib.sha256(data).digest() != digest:
            raise ValueError(f"{name} fails its checksum")
        return pickle.loads(data)

    def _save_data(self, name: str, data: Any) -> None:
        dumped = self._dump(data)
        with self._open_for_write(self._data_path(name)) as file:
            file.write(hashlib.sha256(dumped).digest() + dumped)


class _Cache(caching.FunctionCache):
    """Numba's cache, except that files which cannot be read or written do no harm."""

    _impl_class = _CacheImpl

    def __init__(self, py_func: Any) -> None:
        super().__init__(py_func)
        locator = self._impl.locator
        self._cache_file = _CacheFile(self._cache_path, self._impl.filename_base, locator.get_source_stamp())

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        try:
            return super().load_overload(sig, target_context)
        except _DAMAGE:
            try:
                self.flush()
            except OSError:
                self.disable()
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        try:
            super().save_overload(sig, data)
        except OSError:  # a full disk, or a folder that went away
            self.disable()
