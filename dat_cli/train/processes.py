"""Processes of one training: how they find each other, and how they end together."""

from __future__ import annotations

import atexit
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any

import torch
from lightning.fabric.plugins import ClusterEnvironment
from lightning.fabric.utilities.distributed import _set_num_threads_if_needed
from lightning.pytorch import Trainer
from lightning.pytorch.strategies.launchers import _SubprocessScriptLauncher
from torch import distributed
from torch.distributed.rendezvous import rendezvous

from dat_cli.errors import DatError

WAIT = "DAT_WAIT"  # environment: seconds that a process waits for the others at the start
_WAIT = 600.0
_SOON = 30.0  # seconds after which it says so
_GRACE = 5.0  # seconds that a process has to end by itself after another has failed
_FAILED = "dat/failed"  # key of the common store: some process has said why it ended

log = logging.getLogger("dat.train")


def meet(environment: ClusterEnvironment, device: torch.device, *, patience: timedelta) -> None:
    """Connect this process with the others; Lightning would wait for half an hour without a word.

    Args:
        environment: Who starts the processes, and who this one is.
        device: What this process works on, which decides between NCCL and gloo.
        patience: How long an exchange may take later.

    Raises:
        DatError: The others did not come.
    """
    if distributed.is_initialized():
        return
    rank, world = environment.global_rank(), environment.world_size()
    os.environ["MASTER_ADDR"] = environment.main_address
    os.environ["MASTER_PORT"] = str(environment.main_port)
    place = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
    seconds = float(os.environ.get(WAIT, _WAIT))
    whom = f"for {world - 1} more of {world}" if rank == 0 else "for process 0"
    line = f"process {rank} waits {whom} at {place}, for at most {seconds:.0f} seconds"
    talk = threading.Timer(_SOON, log.warning, [line])
    talk.daemon = True
    talk.start()
    try:
        wait = timedelta(seconds=seconds)
        store, _, _ = next(rendezvous("env://", rank, world, timeout=wait))
        store.set_timeout(patience)
        backend = distributed.Backend.default_device_backend_map.get(device.type, "gloo")
        distributed.init_process_group(
            backend,
            store=store,
            rank=rank,
            world_size=world,
            timeout=patience,
            device_id=None if device.type == "cpu" else device,
        )
    except (distributed.DistStoreError, distributed.DistNetworkError) as error:
        raise DatError(
            f"process {rank} has waited {seconds:.0f} seconds {whom} at {place}",
            hint="start the command on every node, with one MASTER_ADDR and MASTER_PORT and a NODE_RANK of its own",
        ) from error
    finally:
        talk.cancel()
    if backend == "nccl":  # which warns about a group that was left to the end of the process
        atexit.register(lambda: distributed.destroy_process_group() if distributed.is_initialized() else None)


def tell_of(error: BaseException) -> None:
    """Note for the other processes that this one says why it ends; what another's end has caused is no news."""
    if distributed.is_available() and distributed.is_initialized() and not is_lost(error):
        with suppress(RuntimeError):  # the process that keeps the notes is gone
            distributed.distributed_c10d._get_default_store().set(_FAILED, "1")


def is_lost(error: BaseException | None) -> bool:
    """Whether an error means that another process of the training has ended, not what went wrong there."""
    if not isinstance(error, RuntimeError) or not (distributed.is_available() and distributed.is_initialized()):
        return False
    text = str(error)
    lost = ("Connection closed by peer", "Connection reset by peer", "Broken pipe", "remote process exited")
    return isinstance(error, distributed.DistBackendError) or ("gloo" in text) or any(words in text for words in lost)


def verdict() -> BaseException:
    """What a process ends with that has lost another one: an error in words, unless somebody says more already.

    The first process speaks for those that were killed; the others are silent.
    """
    if distributed.get_rank() != 0 or _told():
        return SystemExit(1)
    return DatError(
        "another process of this training has ended without a word",
        hint="it was killed, perhaps for its memory, or its machine is gone; go on with --resume",
    )


def _told() -> bool:
    with suppress(RuntimeError):
        time.sleep(0.5)  # who fails first needs a moment to say so
        return bool(distributed.distributed_c10d._get_default_store().check([_FAILED]))
    return False


class Launcher(_SubprocessScriptLauncher):
    """Starts the other processes of this machine, and sees to it that all end when one fails.

    Lightning's own looks every five seconds and then kills the first process too, before it can say anything.
    """

    def launch(self, function: Callable[..., Any], *args: Any, trainer: Trainer | None = None, **kwargs: Any) -> Any:  # noqa: ARG002
        """Start them and call a function in this one.

        Args:
            function: What all of them do.
            args: For the function.
            trainer: Unused.
            kwargs: For the function.
        """
        self.cluster_environment.validate_settings(num_devices=self.num_processes, num_nodes=self.num_nodes)
        if not self.cluster_environment.creates_processes_externally:
            self._call_children_scripts()
            threading.Thread(target=_watch, args=[self.procs], daemon=True, name="dat-watch").start()
        _set_num_threads_if_needed(num_processes=self.num_processes)
        try:
            return function(*args, **kwargs)
        except BaseException:
            _end(self.procs)
            raise


def _watch(processes: list[subprocess.Popen[bytes]]) -> None:
    """End this process soon after another has failed, if it does not notice by itself."""
    while any(process.poll() is None for process in processes) or any(process.returncode for process in processes):
        failed = [process.returncode for process in processes if process.returncode]
        if failed:
            time.sleep(_GRACE)
            if failed[0] < 0:
                name = signal.Signals(-failed[0]).name
                log.error("another process of this training was ended by %s; all others end too", name)
            for process in processes:
                process.kill()
            sys.stderr.flush()
            os._exit(1)
        time.sleep(0.5)


def _end(processes: list[subprocess.Popen[bytes]]) -> None:
    """Let the others end by themselves, but not for ever."""
    until = time.monotonic() + _GRACE
    for process in processes:
        with suppress(subprocess.TimeoutExpired):
            process.wait(max(until - time.monotonic(), 0))
        process.kill()
