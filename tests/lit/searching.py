"""A search of two epochs of three steps on a tiny supernet, for tests; as a program, one of several processes of it."""

import os
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from advarch.datasets.images import Part
from advarch.datasets.loaders import DeviceLoader
from advarch.defenses.pgd_at import pgd_at
from advarch.errors import Interrupted
from advarch.launch.ranks import here
from advarch.lit.paired import Paired
from advarch.lit.search_module import SearchEpochs, SearchModule, SearchRecipe
from advarch.lit.trainer import make_trainer
from advarch.search.architecture import LogNormalWeights, Softmax
from advarch.search.darts import Darts
from advarch.search.method import SearchMethod
from advarch.search.racl import Racl
from tests.search.small import ATTACK, supernet

EPOCHS, STEPS, RATE, MIN_LR = 2, 3, 0.05, 0.01


def method(name: str) -> SearchMethod:
    arch = partial(Softmax, edges=True) if name == "darts" else LogNormalWeights
    net = supernet(arch)
    for module in list(net.modules()):
        for key, child in module.named_children():
            if isinstance(child, nn.BatchNorm2d):
                # Each process would have statistics of its own.
                setattr(module, key, nn.Identity())
    if name == "darts":
        return Darts(net, defense=pgd_at, attack=ATTACK)
    return Racl(net, warmup=0.5)


def recipe(
    epochs: int = EPOCHS, grad_clip: float | None = 5.0, validation_attack: Any = None
) -> SearchRecipe:
    return SearchRecipe(
        make_optimizers={
            "weights": partial(torch.optim.SGD, lr=RATE, momentum=0.9, weight_decay=3e-4),
            "arch": partial(torch.optim.Adam, lr=0.01, betas=(0.5, 0.999), eps=1e-3, weight_decay=1e-3),
        },
        min_lr=MIN_LR,
        grad_clip=grad_clip,
        epochs=epochs,
        steps_per_epoch=STEPS,
        images=64,
        seed=7,
        validation_attack=validation_attack,
    )


def loader(indices: range, *, train: bool = True) -> DeviceLoader:
    generator = np.random.default_rng(0)
    y = generator.integers(0, 2, 64)
    x = generator.integers(0, 120, (64, 1, 6, 6)) + 100 * y[:, None, None, None]
    place = here()
    return DeviceLoader(
        part=Part(x.astype(np.uint8), y.astype(np.int64)), indices=np.array(indices), batch_size=8, device="cpu",
        shuffle=train, drop_last=train, seed=3, rank=place.rank, world_size=place.world_size,
    )  # fmt: skip


def run(
    folder: Path, searched: SearchMethod, *, process: Any = None, resume: bool = False, **options: Any
) -> dict[str, Any]:
    """Search, or go on; what came of it."""
    record = SearchEpochs(
        folder,
        loader(range(52, 64), train=False),
        validate_every=1,
        on_epoch=lambda row: None,
        process=process,
    )
    made = recipe(**options)
    trainer = make_trainer(
        max_epochs=made.epochs,
        accelerator="cpu",
        devices=here().world_size,
        folder=folder,
        callbacks=[record],
    )
    # 27 and 25 images: three batches each.
    batches = Paired(loader(range(27)), loader(range(27, 52)))
    module = SearchModule(searched.supernet, searched, made)
    stopped = False
    try:
        last = folder / "search" / "last.ckpt" if resume else None
        trainer.fit(module, batches, ckpt_path=last, weights_only=True)
    except Interrupted:
        stopped = True
    timed = ("seconds", "images_per_second")
    return {
        "state": searched.supernet.state_dict(),
        "method": searched.state_dict(),
        "rows": [{key: value for key, value in row.items() if key not in timed} for row in record.rows],
        "stopped": stopped,
        "lr": trainer.optimizers[0].param_groups[0]["lr"],
    }


def main() -> None:
    out, place = Path(sys.argv[1]), here()
    torch.set_num_threads(1)
    for name in ("darts", "racl"):
        # Lightning removes it after a training.
        os.environ["WORLD_SIZE"] = str(place.world_size)
        torch.save(run(out / name, method(name)), out / f"{name}-{place.rank}.pt")


if __name__ == "__main__":
    main()
