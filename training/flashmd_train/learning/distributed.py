"""Processes of one training run: ``torchrun --nproc-per-node N -m flashmd_train …``; a plain start is one process."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel


@contextmanager
def processes() -> Iterator[tuple[int, torch.device]]:
    """This process's rank and device; joins the others that ``torchrun`` started."""
    cuda = torch.cuda.is_available()
    local = int(os.environ.get("LOCAL_RANK", 0))
    device = torch.device("cuda", local) if cuda else torch.device("cpu")
    if "WORLD_SIZE" not in os.environ:
        yield 0, device
        return
    dist.init_process_group("nccl" if cuda else "gloo")
    try:
        yield dist.get_rank(), device
    finally:
        dist.destroy_process_group()


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Automatic mixed precision with matrix products in ``precision``; off for float32."""
    return torch.autocast(device.type, dtype=getattr(torch, precision), enabled=precision != "float32")


def wrap_ddp(module: nn.Module) -> nn.Module:
    """``module`` with gradients averaged over all processes; itself if there is only one."""
    return DistributedDataParallel(module) if dist.is_initialized() else module


def barrier() -> None:
    """Wait for all processes."""
    if dist.is_initialized():
        dist.barrier()
