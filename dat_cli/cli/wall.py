"""The error wall: whatever ends a command becomes one line and an exit code, never a traceback.

Set ``DAT_DEBUG=1`` to see the traceback too. Exceptions of libraries are known by the name of their class,
so that nothing has to be imported to recognise them.
"""

from __future__ import annotations

import errno
import os
import select
import signal
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from types import FrameType, TracebackType
from typing import NamedTuple, NoReturn, TextIO

from dat_cli.cli.logs import is_first_process
from dat_cli.cli.wording import printable
from dat_cli.errors import DatError
from dat_cli.hub.tokens import hide_token

INTERRUPTED, TERMINATED, PIPE_CLOSED = 130, 143, 141  # 128 + signal, as a shell says it

_STOPPED: dict[object, str] = {INTERRUPTED: "interrupted", TERMINATED: "terminated"}
_MEMORY_HINT = "lower --data.batch_size or the image size"
_MEMORY_WORDS = ("out of memory", "can't allocate memory", "not enough memory", "unable to mmap")
_WRONG_PATH = {
    errno.ENOENT, errno.EACCES, errno.EPERM, errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG,
    errno.EROFS, errno.ELOOP,
}  # fmt: skip
_USAGE_CLASSES = ("MisconfigurationException", "ArgumentError", "NSKeyError", "ArgumentTypeError", "ParserError")
_COMPILER_CLASSES = ("BackendCompilerFailed", "InductorError", "CppCompileError")
_NETWORK_MODULES = ("huggingface_hub", "httpx", "httpx2", "requests", "urllib3")


class Verdict(NamedTuple):
    """What is said about an exception and how the process ends."""

    message: str
    exit_code: int


def guard(command: Callable[[], int]) -> int:
    """Run a command and return its exit code, whatever it raises.

    Standard output is flushed here, because what fails at the end of the interpreter cannot be told any more.
    """
    _prepare_streams()
    previous = _terminate_by_exception()
    hook, sys.excepthook = sys.excepthook, _tell_in_background
    try:
        try:
            code = command()
        except SystemExit as error:
            code = _exit_code(error)
        sys.stdout.flush()
    except BaseException as error:  # noqa: BLE001 - this is the wall
        code = _end(error)
    finally:
        sys.excepthook = hook
        if previous is not None:
            signal.signal(signal.SIGTERM, previous)
    return code


def judge(error: BaseException) -> Verdict:
    """What to say about an exception in one line, and the exit code that belongs to it."""
    for known in (_judge_own, _judge_memory, _judge_system, _judge_worker, _judge_library):
        if verdict := known(error):
            return Verdict(printable(verdict.message), verdict.exit_code)
    what = _short(printable(f"{type(error).__name__}: {_words(error)}".removesuffix(": ")))
    return Verdict(f"{what}; this is a bug; run again with DAT_DEBUG=1 and report it", 1)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of Python, of a library or of a device means that there is no memory left."""
    names = {kind.__name__ for kind in type(error).__mro__}
    text = _words(error).lower()
    return bool(names & {"OutOfMemoryError", "MemoryError"}) or any(words in text for words in _MEMORY_WORDS)


def _end(error: BaseException) -> int:
    if isinstance(error, BrokenPipeError) and _reader_has_gone(sys.stdout):
        _settle(sys.stdout)
        return PIPE_CLOSED
    if os.environ.get("DAT_DEBUG") == "1":
        sys.stderr.write(hide_token("".join(traceback.format_exception(error))))
    _settle(sys.stdout)  # results before the error, where both go to one terminal
    if isinstance(error, KeyboardInterrupt):
        _say("interrupted")
        return INTERRUPTED
    verdict = judge(error)
    _say(f"error: {verdict.message}")
    return verdict.exit_code


def _exit_code(error: SystemExit) -> int:
    context = error.__context__
    while context is not None:  # Lightning answers Ctrl+C with sys.exit(1)
        if isinstance(context, KeyboardInterrupt):
            _say("interrupted")
            return INTERRUPTED
        context = context.__context__
    if error.code in _STOPPED and is_first_process():
        _say(_STOPPED[error.code])
    if error.code is None or isinstance(error.code, int):
        return error.code or 0
    _say(f"error: {printable(str(error.code))}")
    return 1


def _judge_own(error: BaseException) -> Verdict | None:
    return Verdict(_words(error), error.exit_code) if isinstance(error, DatError) else None


def _judge_memory(error: BaseException) -> Verdict | None:
    if is_out_of_memory(error):
        return Verdict(f"out of memory; {_MEMORY_HINT}", 1)
    return None


def _judge_system(error: BaseException) -> Verdict | None:
    if isinstance(error, RecursionError):
        return Verdict("an option or a file is nested too deeply", 2)
    if isinstance(error, RuntimeError) and "home directory" in str(error):  # of Path.expanduser
        return Verdict("a path begins with ~, but the home folder that it means is not known; write it out", 2)
    if isinstance(error, ImportError) and not (error.name or "").startswith("dat_cli"):
        return Verdict(f"{error}; the installation is incomplete, install dat-cli again", 1)
    if isinstance(error, OSError):
        place = f": {os.fsdecode(error.filename)}" if isinstance(error.filename, str | bytes | os.PathLike) else ""
        hint = "; free some space or write elsewhere" if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
        return Verdict(f"{error.strerror or _words(error)}{place}{hint}", 2 if error.errno in _WRONG_PATH else 1)
    return None


def _judge_worker(error: BaseException) -> Verdict | None:
    text = str(error)
    if text.startswith("DataLoader worker (pid"):
        return Verdict(f"a data worker process was killed; use fewer with --data.num_workers, or {_MEMORY_HINT}", 1)
    return None


def _judge_library(error: BaseException) -> Verdict | None:
    kinds = type(error).__mro__
    if any(kind.__name__ in _USAGE_CLASSES for kind in kinds):
        return Verdict(_words(error), 2)
    if any(kind.__module__.partition(".")[0] in _NETWORK_MODULES for kind in kinds):
        return Verdict(_words(error) or type(error).__name__, 3)
    if any(kind.__name__ in _COMPILER_CLASSES for kind in kinds):
        what = _short(printable(_words(error)), 200)
        return Verdict(f"the network could not be compiled: {what}; leave out --model.compile", 1)
    return None


def _short(text: str, most: int = 600) -> str:
    return text if len(text) <= most else f"{text[:most]} ..."


def _words(error: BaseException) -> str:
    """What an error says; of one from a data worker its last line, because torch puts the traceback before it."""
    text = str(error)
    return text.strip().splitlines()[-1].partition(": ")[2] if "Original Traceback" in text else text


def _tell_in_background(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Errors that reach no caller: of threads that serve data workers, whose end breaks connections."""
    if os.environ.get("DAT_DEBUG") == "1":
        sys.stderr.write(hide_token("".join(traceback.format_exception(kind, error, trace))))
    elif not isinstance(error, ConnectionError | EOFError):
        _say(f"warning: {judge(error).message}")


def _prepare_streams() -> None:
    """Streams that cannot fail on a sign their encoding lacks, and that exist even when they were closed."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115, PTH123 - for good
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _terminate_by_exception() -> Callable[[int, FrameType | None], object] | int | None:
    """Make SIGTERM unwind the stack, so that temporary files are removed; returns the previous handler."""
    owner = os.getpid()

    def terminate(number: int, _frame: FrameType | None) -> NoReturn:
        if os.getpid() != owner:  # a data worker, which inherited the handler
            os._exit(128 + number)
        raise SystemExit(TERMINATED)

    try:
        if signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
            return None
        return signal.signal(signal.SIGTERM, terminate)
    except ValueError:  # not in the main thread, where signals are somebody else's
        return None


def _reader_has_gone(stream: TextIO) -> bool:
    """Whether the other end of the pipe is closed; a worker's broken pipe is another matter."""
    try:
        poll = select.poll()
        poll.register(stream.fileno(), select.POLLOUT)
        return any(event & select.POLLERR for _, event in poll.poll(0))
    except (OSError, ValueError, AttributeError):
        return False


def _settle(stream: TextIO) -> None:
    """Write what is buffered; if that fails, drop it, so that the interpreter's last flush does not fail again."""
    try:
        stream.flush()
    except (OSError, ValueError):
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _say(message: str) -> None:
    with suppress(OSError, ValueError):
        sys.stderr.write(f"dat: {hide_token(message)}\n")
        sys.stderr.flush()
