"""Findings of any number of classes, and the folder of a run that has everything a page can tell."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dat_cli.report.files import write_findings
from dat_cli.report.findings import Findings, Mistake

HOSTILE = ("<script>document.title='owned'</script>", 'a "b" & $c$', "猫", "\u202egnp", "x" * 300, "=1+1", "-")
METRICS = """epoch,step,train_loss,val_loss,val_acc1,val_acc5,val_f1,lr
1,10,2.3,2.1,0.3,0.7,0.25,0.0005
2,20,1.5,1.2,0.8,0.95,0.78,0.0003
3,30,1.1,1.3,0.7,0.94,0.69,0.00001
"""


@pytest.fixture(scope="session")
def make() -> Callable[..., Findings]:
    """Findings where each class is right for three of four pictures and else taken for the next one."""

    def make(classes: int, names: tuple[str, ...] = (), mistakes: int = 24, side: int = 8) -> Findings:
        confusion = 3 * np.eye(classes, dtype=np.int64)
        confusion[np.arange(classes), (np.arange(classes) + 1) % classes] += 1
        random = np.random.default_rng(0)
        return Findings(
            "val",
            names or tuple(f"class {index}" for index in range(classes)),
            confusion,
            tuple(
                Mistake(
                    f"photos/{index}.jpg",
                    random.integers(0, 256, (side, side, 3), dtype=np.uint8),
                    index % classes,
                    (index + 1) % classes,
                    0.9 - index / 100,
                    0.05,
                )
                for index in range(mistakes)
            ),
            {"loss": 1.2, "acc1": 0.75, "acc5": 0.95, "f1": 0.74},
        )

    return make


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory, make: Callable[..., Findings]) -> Path:
    """The folder of a run whose classes and files have the worst names."""
    folder = tmp_path_factory.mktemp("all") / "runs" / "names" / "version_0"
    folder.mkdir(parents=True)
    findings = make(len(HOSTILE), HOSTILE, side=200)
    write_findings(folder, findings)
    (folder / "metrics.csv").write_text(METRICS)
    (folder / "config.yaml").write_text(
        "name: names\nmodel: {arch: dat_tiny}\ndata: {source: 'https://me:hunter2@example.org/photos'}\n"
        "trainer: {max_epochs: 5}\n# </code><script>document.title='owned'</script>\n"
    )
    environment = {
        "command": "dat fit --config '<b>'",
        "python": "3.12.1",
        "git": {"commit": "abc123", "changed": True},
        "dat_git": {"commit": "def456", "changed": False},
    }
    (folder / "environment.json").write_text(json.dumps(environment))
    return folder
