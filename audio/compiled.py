"""Compiled functions, whose machine code is kept on disk where that is possible."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, TypeVar, cast

import numba
from numba.core.caching import FunctionCache

_Function = TypeVar("_Function", bound=Callable[..., Any])


class _OptionalCache(FunctionCache):  # type: ignore[misc]
    """Numba's cache, without which a function is compiled again in each process."""

    @contextlib.contextmanager
    def _guard_against_spurious_io_errors(self) -> Iterator[None]:
        """Ignores a full disk and files of another user while the cache is read or written."""
        with contextlib.suppress(OSError):
            yield


def compiled(**options: Any) -> Callable[[_Function], _Function]:
    """Returns a decorator that compiles a function when it is first called.

    The machine code is kept beside the source, or in the user's cache folder, or nowhere if neither
    can be written. numba.njit(cache=True) fails then.

    Args:
      **options: Further options of numba.njit, such as nogil.
    """

    def decorate(function: _Function) -> _Function:
        dispatcher = numba.njit(**options)(function)
        with contextlib.suppress(RuntimeError):  # there is no folder for it
            dispatcher._cache = _OptionalCache(function)
        return cast(_Function, dispatcher)

    return decorate
