"""How much memory there is to have, so that too much is refused before any of it is taken; cores; what they compute with."""

import contextlib
import os
import resource
from pathlib import Path

from base.errors import UserError

CONTROL_GROUP = Path("/sys/fs/cgroup/memory.max")
PROGRAM = 3.6e8  # bytes that Python, torch and the project's code take


def memory() -> int:
    """Bytes that this process may take: of the machine, of its container, or of its own limits, the least."""
    found = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for limit in (resource.RLIMIT_AS, resource.RLIMIT_DATA):
        soft, _ = resource.getrlimit(limit)
        if soft != resource.RLIM_INFINITY:
            found.append(soft)
    with contextlib.suppress(OSError, ValueError):
        found.append(int(CONTROL_GROUP.read_text(encoding="utf-8")))
    return min(found)


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def multiplies_bfloat16() -> bool:
    """Whether this processor has instructions that multiply bfloat16; without them it is far slower than float32."""
    with contextlib.suppress(OSError):
        flags = set(Path("/proc/cpuinfo").read_text(encoding="utf-8").split())
        return not flags.isdisjoint(("avx512_bf16", "amx_bf16", "bf16"))
    return False


def check(need: float, what: str, advice: str) -> None:
    """UserError where something needs more bytes of memory than there are."""
    have = memory()
    if need > have:
        raise UserError(
            f"{what} about {need / 1e9:,.1f} GB of memory, this machine has {have / 1e9:,.1f}; {advice}"
        )
