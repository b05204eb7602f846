"""Jobs of Slurm: a job that has to make room goes back into the queue."""

from __future__ import annotations

import logging
import os
import subprocess

PATIENCE = 20.0  # seconds for an answer of scontrol

log = logging.getLogger("dat.train")


def job_id() -> str | None:
    """Slurm's name of the job that this is, one of an array included; None elsewhere."""
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{task}" if array and task else os.environ.get("SLURM_JOB_ID") or None


def was_requeued() -> bool:
    """Whether this job has been started before."""
    return os.environ.get("SLURM_RESTART_COUNT", "0") not in ("", "0")


def requeue() -> None:
    """Ask Slurm to start this job once more, unless somebody has cancelled it; a refusal is a warning.

    Does nothing outside of a job, and in all of its processes but the first.
    """
    job = job_id()
    if job is None or os.environ.get("SLURM_PROCID", "0") != "0":
        return
    if "JobState=CANCELLED" in _scontrol("show", "job", job)[1]:
        log.info("job %s was cancelled, so it is not requeued", job)
        return
    refused, words = _scontrol("requeue", job)
    if refused:
        log.warning("job %s could not be requeued: %s", job, words.strip()[:200] or "scontrol failed")
    else:
        log.info("requeued job %s, which will go on from here", job)


def _scontrol(*words: str) -> tuple[bool, str]:
    """Whether it failed, and what it said."""
    try:
        done = subprocess.run(  # noqa: S603 - our words, and Slurm's own name of the job
            ["scontrol", *words],  # noqa: S607 - where it lies, each cluster decides
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return True, str(error)
    return done.returncode != 0, done.stdout + done.stderr
