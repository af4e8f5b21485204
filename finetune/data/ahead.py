"""Reading in processes of its own: a picture that crashes its decoder costs that picture, and not the run.

A crash cannot be caught in the process that it happens in, so whoever reads is forked off for the length of a pass and
hands over what the pass is after: a small picture, or only what is to be known of a large one.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import multiprocessing
import pickle
import queue
import signal
import sys
import threading
import traceback
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing.connection import Connection
from typing import Any, Generic, TypeVar

from ..errors import FinetuneError, UnreadableError

T = TypeVar("T")
R = TypeVar("R")

EACH = 32
"""A further process is forked for no fewer items: it takes 30 ms of a run with torch, as they do of photographs."""

LINES: set[Connection] = set()
"""Our ends of the lines to those who read."""

ONE_AT_A_TIME = threading.Lock()
"""Whoever starts a process collects those that have ended, also from under a thread that asks how."""


def read_ahead(function: Callable[[T], R], items: Iterable[T], threads: int, ahead: int = 64) -> Iterator[R]:
    """Like `map`, on several threads, a bounded number of items ahead of whoever takes the results."""
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future[R]] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) > ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:  # whoever stops early must not wait for what nobody will take
            for future in waiting:
                future.cancel()


def read_apart(
    function: Callable[[T], R], items: Sequence[T], readers: int, *, ahead: int = 64, here: bool = False
) -> Generator[R | UnreadableError]:
    """Like `read_ahead`, in forked processes; on threads where the system cannot fork safely.

    Args:
        function: Reads an item; what it returns and raises must pickle. It is called in another process: what it
            changes there, nobody sees.
        items: What is read.
        readers: How many are read at once.
        ahead: How many items are read before their results are taken.
        here: Whether to read on threads of this process all the same.

    Yields:
        The results in the order of the items; in the place of one that cannot be read, or that ends its process twice,
        the error that says why.
    """
    readers = max(1, min(readers, -(-len(items) // EACH)))
    if here or not _forks():
        yield from read_ahead(_or_why(function), items, readers, ahead)
        return
    with contextlib.ExitStack() as stack:
        idle: queue.SimpleQueue[_Reader[T, R]] = queue.SimpleQueue()
        for _ in range(readers):
            idle.put(stack.enter_context(_Reader(function)))

        def ask(item: T) -> R | UnreadableError:
            reader = idle.get()
            try:
                return reader(item)
            finally:
                idle.put(reader)

        yield from read_ahead(ask, items, readers, ahead)


def how_it_ended(code: int | None) -> str:
    """In words, of the exit code of a process as `multiprocessing` gives it: the signal, or the code itself."""
    return signal.Signals(-code).name if code is not None and code < 0 else f"exit code {code}"


def _forks() -> bool:
    """Whether a process with threads can be forked: macOS lets one that has used its frameworks crash."""
    return sys.platform == "linux" and not multiprocessing.current_process().daemon


def _or_why(function: Callable[[T], R]) -> Callable[[T], R | UnreadableError]:
    def result(item: T) -> R | UnreadableError:
        try:
            return function(item)
        except UnreadableError as error:
            return error

    return result


class _Reader(Generic[T, R]):
    """A process that reads item by item, and another one after an item that ended it.

    Args:
        function: Reads one.
    """

    def __init__(self, function: Callable[[T], R]) -> None:
        self._function = _or_why(function)

    def __enter__(self) -> _Reader[T, R]:
        context = multiprocessing.get_context("fork")
        self._line, there = context.Pipe()
        LINES.add(self._line)
        self._process = context.Process(target=_serve, args=(self._function, there), daemon=True)
        # A child inherits what is blocked: signals reach a whole group, and the run says when its readers end.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGUSR1})
        try:
            with warnings.catch_warnings():  # Python 3.12 warns of threads; the child decodes, and needs nobody's locks
                warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
                self._process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        there.close()
        return self

    def __exit__(self, *error: object) -> None:
        self._process.kill()  # it blocks milder signals
        self._process.join()
        self._process.close()
        LINES.discard(self._line)
        self._line.close()

    def __call__(self, item: T) -> R | UnreadableError:
        """What the process answers.

        Raises:
            Exception: What `function` raised there, except an UnreadableError, which is returned.
        """
        ended = None
        # Twice, since a process may be killed for want of memory while it happens to be at an item.
        for _ in range(2):
            try:
                self._line.send(item)
                raised, answer = self._line.recv()
            except (EOFError, OSError):
                with ONE_AT_A_TIME:
                    self._process.join()
                    ended = how_it_ended(self._process.exitcode)
                    self.__exit__()
                    self.__enter__()
                continue
            if raised:
                raise answer
            result: R | UnreadableError = answer
            return result
        return UnreadableError(f"the process that read it was ended by {ended}.")


def _serve(function: Callable[[Any], Any], line: Connection) -> None:
    """Answers until nobody asks any more."""
    for theirs in LINES:  # a line ends for a reader when nobody holds its other end, be it by inheritance
        theirs.close()
    faulthandler.disable()  # it ends in one line of the run's, and not in a traceback
    gc.freeze()  # looking through objects that are shared would copy the pages they lie in
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)  # a pool of threads is not there after a fork
    with contextlib.suppress(EOFError, OSError):
        while True:
            item = line.recv()
            try:
                answer = (False, function(item))
            except Exception as error:
                answer = (True, _for_the_way(error))
            line.send(answer)


def _for_the_way(error: Exception) -> Exception:
    """The error, or its words where it cannot travel; what is not said to a user tells where it came up."""
    if not isinstance(error, FinetuneError):
        error.add_note("In a process that reads:\n" + "".join(traceback.format_exception(error)))
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError("".join(traceback.format_exception(error)))
    return error
