"""One of the two processes of ``compare.py``: runs the networks of one revision when it is told to.

Orders and answers are lines of JSON on standard input and output. Of the package it uses ``create_model`` alone, which
every revision has.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from time import perf_counter
from typing import Any

Call = Callable[[], object]


def main(folder: str) -> None:
    """Answer orders until there are none: a cell is prepared, then timed as often as asked.

    Args:
        folder: Where the package must come from.
    """
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever else is printed is no answer
    call: Call | None = None
    answer: dict[str, float | str]
    for line in sys.stdin:
        order = json.loads(line)
        try:
            if "cell" in order:
                call = None  # the memory of the one before is needed
                _check_origin(Path(folder))
                call = prepare(**order["cell"])
                answer = {"seconds": seconds_of(call, 1)}
            else:
                answer = {"seconds": seconds_of(_prepared(call), order["calls"])}
        except Exception as error:  # noqa: BLE001 - the other cells go on, and compare.py says what it was
            call = None
            words = str(error).strip().splitlines()
            answer = {"error": f"{type(error).__name__}: {words[0] if words else ''}"[:300]}
        answers.write(f"{json.dumps(answer)}\n")
        answers.flush()


def prepare(
    *, name: str, task: str, batch_size: int, image_size: int | None, precision: str, compiled: bool, device: str,
    threads: int | None,
) -> Call:  # fmt: skip
    """Build a network and what is called again and again.

    Args:
        name: A published variant.
        task: ``inference`` or ``training``: forward, cross entropy, backward, AdamW.
        batch_size: Images of a call.
        image_size: Pixels of a side; the variant's own where it is None.
        precision: ``32``, or ``bf16`` or ``16`` by autocast.
        compiled: Whether ``torch.compile`` comes before.
        device: ``cpu``, ``cuda`` or ``mps``.
        threads: Of PyTorch; its own choice where it is None.
    """
    import torch

    from dat_cli.models import create_model

    if threads is not None:
        torch.set_num_threads(threads)
    torch.manual_seed(0)
    options: dict[str, Any] = {} if image_size is None else {"img_size": image_size}
    network: Any = create_model(name, **options)
    size = image_size or network.default_cfg["input_size"][-1]
    network = network.to(device).train(task == "training")
    run = torch.compile(network) if compiled else network
    images = torch.rand(batch_size, 3, size, size, device=device)
    labels = torch.zeros(batch_size, dtype=torch.long, device=device)
    reduced = {"bf16": torch.bfloat16, "16": torch.float16}.get(precision)

    def precisely() -> Any:
        return nullcontext() if reduced is None else torch.autocast(device, reduced)

    def infer() -> None:
        with torch.no_grad(), precisely():
            run(images)

    if task == "inference":
        return infer
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-6)

    def train() -> None:
        with precisely():
            loss = torch.nn.functional.cross_entropy(run(images), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return train


def seconds_of(call: Call, calls: int) -> float:
    """Seconds of one call, the mean of several in a row, after one that is not timed: the other process ran before."""
    call()
    _finish()
    start = perf_counter()
    for _ in range(calls):
        call()
    _finish()
    return (perf_counter() - start) / calls


def _finish() -> None:
    """Wait for what a GPU still has to do."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()
    elif torch.backends.mps.is_available():
        torch.mps.synchronize()


def _prepared(call: Call | None) -> Call:
    if call is None:
        raise ValueError("nothing is prepared")
    return call


def _check_origin(folder: Path) -> None:
    import dat_cli

    origin = Path(dat_cli.__file__ or "").resolve()
    if folder.resolve() not in origin.parents:
        raise ImportError(f"dat_cli was found in {origin.parent}")


if __name__ == "__main__":
    main(sys.argv[1])
