"""The wall: whatever ends a command is one line and an exit code."""

import errno
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import NoReturn

import pytest
from torch._utils import ExceptionWrapper

from dat_cli.cli.wall import guard, judge
from dat_cli.errors import DataError, DatError, HubError, UsageError


class OutOfMemoryError(RuntimeError):
    """Named as torch's."""


class MisconfigurationException(Exception):  # noqa: N818 - named as Lightning's
    """Named as Lightning's."""


def raises(error: BaseException) -> Callable[[], NoReturn]:
    def command() -> NoReturn:
        raise error

    return command


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (DatError("it failed", hint="try again"), 1, "it failed; try again"),
        (UsageError("wrong option"), 2, "wrong option"),
        (HubError("no network"), 3, "no network"),
        (OSError(errno.ENOSPC, "No space left on device", "/x/last.ckpt"), 1, "No space left on device: /x/last.ckpt;"),
        (PermissionError(errno.EACCES, "Permission denied", "runs"), 2, "Permission denied: runs"),
        (MemoryError(), 1, "out of memory; lower --data.batch_size"),
        (OutOfMemoryError("CUDA out of memory. Tried to allocate\n 2 GiB"), 1, "out of memory; lower"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), 1, "out of memory; lower"),
        (RuntimeError("DataLoader worker (pid 5) is killed by signal: Killed."), 1, "a data worker process was killed"),
        (RecursionError("maximum recursion depth exceeded"), 2, "nested too deeply"),
        (MisconfigurationException("You selected\nan invalid\tvalue"), 2, "You selected an invalid value"),
        (ModuleNotFoundError("No module named 'torchvision'", name="torchvision"), 1, "install dat-cli again"),
        (ZeroDivisionError("division by zero"), 1, "ZeroDivisionError: division by zero; this is a bug"),
        (AssertionError(), 1, "AssertionError; this is a bug; run again with DAT_DEBUG=1"),
    ],
)
def test_an_error_is_one_line_and_its_exit_code(
    error: Exception, code: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert guard(raises(error)) == code
    told = capsys.readouterr().err
    assert told.startswith("dat: error: ")
    assert told.count("\n") == 1
    assert words in told


def test_a_traceback_is_shown_on_request(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("DAT_DEBUG", "1")
    assert guard(raises(UsageError("wrong option"))) == 2
    told = capsys.readouterr().err
    assert told.startswith("Traceback (most recent call last)")
    assert told.endswith("dat: error: wrong option\n")


def test_an_error_of_a_data_worker_keeps_its_words_and_code() -> None:
    try:
        raise DataError("cat.jpg is damaged", hint="remove it")
    except DataError:
        handed_over = ExceptionWrapper(where="in DataLoader worker process 0")
    wrapper = pickle.loads(pickle.dumps(handed_over))
    with pytest.raises(DataError) as caught:
        wrapper.reraise()
    assert judge(caught.value) == ("cat.jpg is damaged; remove it", 2)


def test_what_a_compiler_says_is_cut_and_has_a_way_out() -> None:
    class InductorError(Exception):
        pass

    verdict = judge(InductorError("C++ compile error\n" + "overflow in conversion\n" * 5000))
    assert verdict.exit_code == 1
    assert verdict.message.startswith("the network could not be compiled: C++ compile error overflow")
    assert verdict.message.endswith("leave out --model.compile")
    assert len(verdict.message) < 400
    assert len(judge(RuntimeError("x" * 100_000)).message) < 800


def test_a_name_cannot_control_the_terminal() -> None:
    assert judge(UsageError("no file 'a\x1b[2J\nb\udcff'")).message == r"no file 'a\x1b[2J b\udcff'"


def test_the_exit_code_of_a_library_is_kept() -> None:
    assert guard(raises(SystemExit(2))) == 2
    assert guard(raises(SystemExit())) == 0
    assert guard(raises(SystemExit("cannot go on"))) == 1


def test_an_interrupt_that_lightning_swallowed_is_still_one() -> None:
    def command() -> NoReturn:
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            sys.exit(1)

    assert guard(command) == 130


def test_a_connection_that_a_stopped_worker_broke_is_not_told(capsys: pytest.CaptureFixture[str]) -> None:
    def command() -> int:
        for error in (ConnectionResetError("Connection reset by peer"), ZeroDivisionError("division by zero")):
            sys.excepthook(type(error), error, None)
        return 0

    assert guard(command) == 0
    told = capsys.readouterr().err
    assert told.startswith("dat: warning: ZeroDivisionError: division by zero")
    assert told.count("\n") == 1


WAITING = """
import sys, time
from dat_cli.cli.wall import guard
def command():
    try:
        print("ready", flush=True)
        time.sleep(60)
    finally:
        print("cleaned up", flush=True)
sys.exit(guard(command))
"""


@pytest.mark.parametrize(
    ("number", "code", "line"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
def test_a_signal_cleans_up_and_ends_with_its_code(number: signal.Signals, code: int, line: str) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", WAITING], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (code, "cleaned up\n", f"dat: {line}\n")


@pytest.mark.parametrize("args", ["models", "models --format json", "--help"])
def test_a_closed_pipe_is_quiet(args: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "dat_cli", *args.split()]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")


def test_a_full_disk_is_told() -> None:
    with open("/dev/full", "w") as full:  # noqa: PTH123 - a device
        done = subprocess.run(
            [sys.executable, "-m", "dat_cli", "models"], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "No space left on device" in done.stderr


def test_closed_standard_streams_do_no_harm() -> None:
    command = f"'{sys.executable}' -m dat_cli models >&- 2>&-; echo $?"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60, check=True)
    assert (done.stdout, done.stderr) == ("0\n", "")
