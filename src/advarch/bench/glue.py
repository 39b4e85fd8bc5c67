"""What people write today for one network of a grid: a script of its own around public packages, run once for each network.

`python -m advarch.bench.glue '{"width": 1, "lr": 0.1, ...}'` trains on digits by the naive loop, evaluates by PGD-20 and
pyautoattack, and prints the accuracies as JSON.
"""

import json
import sys

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from advarch.backbones.wide_resnet import WideResNet
from advarch.bench.peers import naive_pgd
from advarch.bench.trained import right, tensors
from advarch.datasets.embedded import digits


def glue(*, width: float, lr: float, epochs: int, batch: int, eps: float, images: int) -> dict[str, float]:
    """Accuracies in [0, 1] after PGD-10 adversarial training: clean, pgd20, and autoattack on the first images."""
    from pyautoattack import AutoAttack

    torch.manual_seed(0)
    data, cpu = digits(), torch.device("cpu")
    x, y = tensors(data.train, cpu)
    net = WideResNet(classes=10, in_channels=1, depths=[1, 1, 1], widths=[width] * 3)
    # The last tenth is for validation, as in a run.
    x, y = x[: -round(len(x) / 10)], y[: -round(len(x) / 10)]
    optimizer = torch.optim.SGD(net.parameters(), lr=lr, momentum=0.9, weight_decay=2e-4)
    for _ in range(epochs):
        for chosen in torch.randperm(len(x)).split(batch):
            net.eval()
            x_adv = naive_pgd(net, x[chosen], y[chosen], eps=eps, step_size=eps / 4, steps=10)
            net.train()
            optimizer.zero_grad()
            F.cross_entropy(net(x_adv), y[chosen]).backward()
            optimizer.step()
    net.eval()
    x, y = tensors(data.test, cpu)
    found = {"clean": _share(net, x, y)}
    x_adv = naive_pgd(net, x, y, eps=eps, step_size=eps / 10, steps=20)
    found["pgd20"] = _share(net, x_adv, y)
    x, y = x[:images], y[:images]
    attack = AutoAttack(net, norm="Linf", eps=eps, version="standard", seed=0, device="cpu")
    attack.verbose = False
    x_adv, _ = attack.run_standard_evaluation(x, y, batch_size=250)
    return found | {"autoattack": _share(net, x_adv, y)}


def _share(net: nn.Module, x: Tensor, y: Tensor) -> float:
    return float(right(net, x, y).float().mean())


if __name__ == "__main__":
    print(json.dumps(glue(**json.loads(sys.argv[1]))))
