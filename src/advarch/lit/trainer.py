"""Lightning's Trainer with everything switched off that advarch does itself."""

import logging
import warnings
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

import pytorch_lightning as pl
import torch
from annotated_types import Ge, Gt
from pytorch_lightning.strategies import DDPStrategy
from torch import nn

from advarch.errors import InputError
from advarch.layers.layout import unsafe_convolution
from advarch.lit.checkpoints import InPlace
from advarch.lit.module import TrainModule
from advarch.lit.search_module import SearchModule

PRECISIONS: dict[str, Literal["32-true", "bf16-mixed", "16-mixed"]] = {
    "fp32": "32-true",
    "bf16": "bf16-mixed",
    "fp16": "16-mixed",
}

SWITCHED_OFF: dict[str, Any] = {
    "inference_mode": False,
    "use_distributed_sampler": False,
    "num_sanity_val_steps": 0,
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}
"""What advarch does without, or by callbacks of its own: checkpoints, validation, progress and logs."""

PATIENCE = timedelta(minutes=10)
"""How long processes wait for one that does not come, in an exchange of gradients or at the start."""


class ChannelsLast(pl.Callback):
    """Lay the network's memory out as (batch, height, width, channel), which convolutions are faster on."""

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        del trainer
        if pl_module.device.type == "cpu":
            refuse_unsafe_layout(pl_module)
        pl_module.to(memory_format=torch.channels_last)


class Fast(pl.Callback):
    """The fast path of training and search: channels_last where it pays and is safe, and a cheaper copy of the network under attack."""

    def __init__(self, *, half_precision: bool) -> None:
        self.half_precision = half_precision

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Before the network is wrapped for several processes, who remember its layout."""
        del stage
        if not isinstance(pl_module, TrainModule | SearchModule):
            return
        # On a GPU that layout pays in half precision only.
        pays = self.half_precision or trainer.strategy.root_device.type == "cpu"
        if pays and unsafe_convolution(pl_module) is None:
            pl_module.to(memory_format=torch.channels_last)
            pl_module.fast.append("channels_last")
        pl_module.attack_a_copy()


class Compile(pl.Callback):
    """Compile the network, or where there is no working compiler warn once and go on without."""

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        del trainer
        assert isinstance(pl_module, TrainModule)
        problem = compiler_problem(pl_module.device)
        if problem is None:
            pl_module.compile_network()
        else:
            warnings.warn(
                f"trainer.compile: no working compiler, the network runs as it is ({problem})", stacklevel=2
            )


def compiler_problem(device: torch.device) -> str | None:
    """What goes wrong when the smallest function is compiled for the device; None when nothing does."""
    try:
        torch.compile(lambda x: x + 1)(torch.zeros(2, device=device))
    except Exception as error:  # a missing compiler shows as one of many errors
        return f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
    return None


def refuse_unsafe_layout(model: nn.Module) -> None:
    """Refuse channels_last on a CPU where it corrupts memory.

    Raises:
        InputError: the network has such a convolution, see `layout.unsafe_convolution`.
    """
    unsafe = unsafe_convolution(model)
    if unsafe is not None:
        raise InputError(
            f"trainer.channels_last: expected false for this network on a CPU, came true; {unsafe}, "
            "on which torch writes past its memory in that layout"
        )


def make_trainer(
    *,
    max_epochs: Annotated[int, Ge(1)],
    precision: Literal["fp32", "bf16", "fp16"] = "fp32",
    accelerator: Literal["auto", "cpu", "gpu"] = "auto",
    devices: Literal["auto"] | Annotated[int, Ge(1)] = "auto",
    num_nodes: Annotated[int, Ge(1)] = 1,
    grad_clip: Annotated[float, Gt(0)] | None = None,
    threads: Annotated[int, Ge(1)] | None = None,
    channels_last: bool = False,
    fast: bool | None = None,
    compile: bool | None = None,
    sync_batchnorm: bool | None = None,
    folder: Path | None = None,
    callbacks: list[pl.Callback] | None = None,
) -> pl.Trainer:
    """A Trainer for adversarial training.

    Args:
        max_epochs: epochs to train.
        precision: fp32; bf16 (autocast); fp16 (autocast, the loss scaled in training only).
        accelerator: what to compute on.
        devices: processes on each node.
        num_nodes: machines.
        grad_clip: bound on the global l_2 norm of the gradient.
        threads: CPU threads of this process.
        channels_last: keep the network's weights and feature maps as (batch, height, width, channel) in memory.
        fast: that layout where it pays and is safe, and in adversarial training and search attacks on a copy of the network
            that is its equal but for rounding; False leaves both, None does not.
        compile: run the network, and the copy that is attacked, through torch.compile in training.
        sync_batchnorm: batch statistics over the images of all processes, on GPUs; otherwise each process has its own.
        folder: where the run lies.
        callbacks: what happens along the way.

    Raises:
        InputError: fp16 or sync_batchnorm without a GPU.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    _quiet()
    gpu = accelerator == "gpu" or (accelerator == "auto" and torch.cuda.is_available())
    if not gpu:
        _refuse_on_cpu(precision, sync_batchnorm)
    if devices == "auto":
        devices = torch.cuda.device_count() if gpu else 1
    return pl.Trainer(
        max_epochs=max_epochs,
        accelerator="gpu" if gpu else "cpu",
        devices=devices,
        num_nodes=num_nodes,
        strategy=DDPStrategy(timeout=PATIENCE) if devices * num_nodes > 1 else "auto",
        sync_batchnorm=bool(sync_batchnorm),
        precision=PRECISIONS[precision],
        gradient_clip_val=grad_clip,
        plugins=[InPlace()],
        callbacks=[*(callbacks or []), *_chosen(fast, channels_last, compile, precision)],
        default_root_dir=folder,
        **SWITCHED_OFF,
    )


def _chosen(
    fast: bool | None, channels_last: bool, compile: bool | None, precision: str
) -> list[pl.Callback]:
    """What is done to the network before it is trained."""
    found: list[pl.Callback] = [] if fast is False else [Fast(half_precision=precision != "fp32")]
    return found + [each() for each, wanted in ((ChannelsLast, channels_last), (Compile, compile)) if wanted]


def _refuse_on_cpu(precision: str, sync_batchnorm: bool | None) -> None:
    """Raises InputError for what only GPUs can do."""
    if precision == "fp16":
        # Lightning would take bf16 without a word.
        raise InputError(
            "trainer.precision: expected fp32 or bf16 on a CPU, came fp16; bf16 needs no loss scale"
        )
    if sync_batchnorm:
        raise InputError(
            "trainer.sync_batchnorm: expected false on a CPU, where torch can't do it, came true; use GPUs or leave it out"
        )


def _quiet() -> None:
    """Lightning's advertisements and advice about loaders that are not ours to follow."""
    for name in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=".*srun.*")
    # Ours goes on in the middle of an epoch, through start_batch.
    warnings.filterwarnings("ignore", message=".*dataloader is not resumable.*")
    warnings.filterwarnings("ignore", message=".*LeafSpec.*")
    warnings.filterwarnings("ignore", message=".*isinstance.treespec.*")
