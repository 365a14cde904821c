"""Pictures as files, drawn by a process beside this one where many are drawn; it is given other work too."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import pickle
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

from trainer.errors import RunError, UsageError
from trainer.loggers.atomic import write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure

log = logging.getLogger(__name__)

# A sweep whose jobs end faster than pictures are drawn waits from here on, instead of filling the memory.
MOST_WAITING = 32
NICENESS = 5
_LENGTH = struct.Struct("<Q")

T = TypeVar("T")


def check_in_sweeps(value: str, logger: str) -> str:
    """Return which jobs of a sweep draw pictures.

    Raises
    ------
    UsageError
        For anything but `best` and `all`.
    """
    if value not in ("best", "all"):
        raise UsageError(f"logger.{logger}.in_sweeps={value} is no choice: give best or all")
    return value


def write_figure(figure: Any, path: Path) -> None:
    """Write a matplotlib figure, or what a function makes, as a PNG, whole or not at all.

    Raises
    ------
    OSError
        The file cannot be written.
    """
    picture = io.BytesIO()
    made = figure() if callable(figure) else figure
    # The time that zlib takes for its best is worth more than the tenth of the bytes that it saves.
    made.savefig(picture, format="png", pil_kwargs={"compress_level": 1})
    write_atomically(path, picture.getvalue())


def write_lines(figure: Figure, path: Path) -> None:
    """Write a figure of lines and words as a PNG of 256 colours, whole or not at all.

    A third of the bytes of all colours, in half of the time.

    Raises
    ------
    OSError
        The file cannot be written.
    """
    import numpy as np
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    pixels = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    picture = io.BytesIO()
    pixels.quantize(256, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE).save(picture, "png")
    write_atomically(path, picture.getvalue())


def draw(path: Path, function: Callable[..., None], *arguments: Any) -> None:
    """Call a function that writes a picture: at once, or within `drawn_beside` by the process beside.

    A disk that is full costs the picture and a warning, not the run.

    Parameters
    ----------
    path : Path
        The file, for that warning.
    function : callable
        One that a module holds, and that raises an OSError where it cannot write.
    *arguments
        What it is called with, of types that can be pickled for the other process.
    """
    if _beside is not None and _beside.when():
        _beside.submit(path, function, arguments)
    else:
        _tell(_complaint(path, function, arguments))


def is_beside() -> bool:
    """Tell whether this is within `drawn_beside`."""
    return _beside is not None


def called_beside(function: Callable[..., T], *arguments: Any) -> Future[T]:
    """Call a function within `drawn_beside` in the process beside, after the pictures, else here and at once.

    Parameters
    ----------
    function : callable
        One that a module holds.
    *arguments
        What it is called with; they and the result are of types that can be pickled.

    Returns
    -------
    Future
        Of what it returns or raises.
    """
    if _beside is not None:
        return _beside.call(function, arguments)
    future: Future[T] = Future()
    try:
        future.set_result(function(*arguments))
    except Exception as error:
        future.set_exception(error)
    return future


@contextmanager
def drawn_beside(when: Callable[[], object] = lambda: True) -> Iterator[None]:
    """Have pictures drawn by another process, which is started for the first and waited for at the end.

    Parameters
    ----------
    when : callable
        Asked for each picture; where what it returns is false, the picture is drawn here.
    """
    global _beside
    before, _beside = _beside, Beside(when)
    try:
        yield
    finally:
        used, _beside = _beside, before
        used.close()


def settle() -> None:
    """Wait until every picture that was asked for is there."""
    if _beside is not None:
        _beside.settle()


class Beside:
    """A process that draws pictures, one after another, and a thread that hands them to it.

    A picture that it cannot be given, or that it dies of, is drawn here.
    """

    def __init__(self, when: Callable[[], object] = lambda: True) -> None:
        self.when = when
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="drawing")
        self._room = threading.Semaphore(MOST_WAITING)
        self._waiting: set[Future[None]] = set()
        self._process: subprocess.Popen[bytes] | None = None

    def submit(self, path: Path, function: Callable[..., None], arguments: tuple[Any, ...]) -> None:
        """Have a picture drawn; wait where many are waiting."""
        try:
            request = pickle.dumps((_picture, (path, function, arguments)))
        except Exception:  # whatever a user's figure holds that no other process can be given
            _tell(_complaint(path, function, arguments))
            return
        self._room.acquire()
        future = self._thread.submit(self._draw, request)
        self._waiting.add(future)
        future.add_done_callback(self._done)

    def call(self, function: Callable[..., T], arguments: tuple[Any, ...]) -> Future[T]:
        """Have a function called there, whose arguments can be pickled."""
        return self._thread.submit(self._answer, pickle.dumps((function, arguments)))

    def settle(self) -> None:
        """Wait until all are drawn."""
        wait_for(list(self._waiting))

    def close(self) -> None:
        """Wait until all are drawn, and end the process."""
        self._thread.shutdown()
        if self._process is not None:
            self._process.communicate()

    def _done(self, future: Future[None]) -> None:
        self._waiting.discard(future)
        self._room.release()

    def _draw(self, request: bytes) -> None:
        _tell(self._answer(request))

    def _answer(self, request: bytes) -> Any:
        try:
            process = self._process = self._process or _started()
            _send(process.stdin, request)
            is_result, answer = pickle.loads(_received(process.stdout))
        except (OSError, EOFError):
            function, arguments = pickle.loads(request)
            return function(*arguments)
        if not is_result:
            raise answer
        return answer


_beside: Beside | None = None


def _tell(complaint: str) -> None:
    if complaint:
        log.warning("%s", complaint)


def _picture(path: Path, function: Callable[..., None], arguments: tuple[Any, ...]) -> str:
    """Draw beside; an error that is no picture's is told where somebody reads it."""
    try:
        return _complaint(path, function, arguments)
    except Exception as error:
        return f"a picture cannot be drawn ({type(error).__name__}: {error})"


def _complaint(path: Path, function: Callable[..., None], arguments: tuple[Any, ...]) -> str:
    """Draw; return what hindered the writing, and nothing where nothing did."""
    try:
        function(*arguments)
    except OSError as error:
        return f"{path.name} cannot be written ({error.strerror or error})"
    return ""


def _started() -> subprocess.Popen[bytes]:
    # A session of its own: Ctrl-C is not for it, and what is waiting is drawn all the same.
    return subprocess.Popen(
        [sys.executable, "-c", "from trainer.loggers.drawing import serve; serve()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path or str(Path.cwd()) for path in sys.path)},
        start_new_session=True,
    )


def serve() -> None:
    """Call what standard input asks for until it ends; answer each request by the result, or the error."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever is printed is no answer
    os.nice(NICENESS)
    with contextlib.suppress(EOFError, OSError):
        while True:
            request = _received(sys.stdin.buffer)
            _send(answers, _answer(request))


def _answer(request: bytes) -> bytes:
    try:
        function, arguments = pickle.loads(request)
        return pickle.dumps((True, function(*arguments)))
    except Exception as error:
        return pickle.dumps((False, RunError(f"{type(error).__name__}: {error}")))


def _send(stream: Any, content: bytes) -> None:
    stream.write(_LENGTH.pack(len(content)) + content)
    stream.flush()


def _received(stream: BinaryIO | Any) -> bytes:
    head = stream.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        raise EOFError
    (length,) = _LENGTH.unpack(head)
    content: bytes = stream.read(length)
    if len(content) < length:
        raise EOFError
    return content
