"""Three-vectors as plain tuples for the compiled code, and the compiler's options in one place."""

from __future__ import annotations

import math

from numba import njit

# "numpy" division leaves out the zero test that would keep loops from being vectorised; nogil lets bands of rows run
# in threads; the cache keeps compiled code beside the sources.
JIT = {"cache": True, "nogil": True, "fastmath": True, "error_model": "numpy"}


@njit(**JIT)
def dot(a, b):
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


@njit(**JIT)
def plus(a, b, share):
    """a + share * b."""
    return a[0] + share * b[0], a[1] + share * b[1], a[2] + share * b[2]


@njit(**JIT)
def cross(a, b):
    return a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]


@njit(**JIT)
def times(a, share):
    return a[0] * share, a[1] * share, a[2] * share


@njit(**JIT)
def unit(a):
    return times(a, 1.0 / math.sqrt(dot(a, a) + 1e-18))


@njit(**JIT)
def clamp(value, low, high):
    return min(max(value, low), high)


@njit(**JIT)
def mix(a, b, share):
    return a + share * (b - a)
