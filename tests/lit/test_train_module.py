"""Training through Lightning against a plain loop; what is kept, chosen, recorded and resumed."""

import csv
import dataclasses
import itertools
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from advarch.attacks.pgd import pgd
from advarch.datasets.images import Part
from advarch.datasets.loaders import DeviceLoader
from advarch.defenses.contract import TrainStep
from advarch.defenses.natural import natural
from advarch.defenses.pgd_at import pgd_at
from advarch.defenses.trades import trades
from advarch.errors import InputError
from advarch.lit.accounting import NonFiniteLoss
from advarch.lit.callbacks import EpochRecord, ProgressReport, metrics_csv
from advarch.lit.module import TrainModule
from advarch.lit.recipe import Recipe
from advarch.lit.schedules import cosine, cyclic, multistep
from advarch.lit.trainer import make_trainer, refuse_unsafe_layout
from advarch.noise import ExampleGenerator, derive_seed
from advarch.records import Progress
from advarch.threat import Threat
from advarch.types import LossOutput

THREAT = Threat("inf", 0.1)
ATTACK = partial(pgd, threat=THREAT, steps=2, step_size=0.05)
SEED = 5


def part(count: int = 22) -> Part:
    generator = np.random.default_rng(0)
    y = generator.integers(0, 3, count)
    x = generator.integers(0, 120, (count, 1, 4, 4)) + 60 * y[:, None, None, None]
    return Part(x.astype(np.uint8), y.astype(np.int64))


def train_loader() -> DeviceLoader:
    """Two batches of eight, six images left out, shuffled, shifted and mirrored."""
    return DeviceLoader(
        part=part(), indices=np.arange(22), batch_size=8, device="cpu", shuffle=True, drop_last=True, crop_pad=1, flip=True, seed=SEED
    )  # fmt: skip


def val_loader() -> DeviceLoader:
    return DeviceLoader(
        part=part(), indices=np.arange(10), batch_size=4, device="cpu", shuffle=False, drop_last=False
    )


def network(*, dropout: bool = False) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers = [nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Dropout(0.5 if dropout else 0.0)]
        return nn.Sequential(*layers, nn.Flatten(), nn.Linear(12, 3))


def recipe(epochs: int = 3, **changes) -> Recipe:
    values = {
        "defense": pgd_at,
        "attack": ATTACK,
        "validation_attack": ATTACK,
        "make_optimizer": partial(torch.optim.SGD, lr=0.1, momentum=0.9, weight_decay=5e-4),
        "schedule": partial(multistep, milestones=[1, 2], gamma=0.5),
        "epochs": epochs,
        "steps_per_epoch": 2,
        "seed": SEED,
    }
    return Recipe(**(values | changes))


@dataclasses.dataclass
class Run:
    """A training through Lightning and all it left."""

    model: nn.Module
    trainer: pl.Trainer
    record: EpochRecord
    folder: Path
    rows: list[dict[str, float]]

    def checkpoint(self, name: str) -> dict:
        return torch.load(self.folder / "checkpoints" / f"{name}.ckpt", weights_only=True)

    def csv(self) -> list[dict[str, str]]:
        with (self.folder / "metrics.csv").open(newline="") as file:
            return list(csv.DictReader(file))


def fit(
    folder: Path,
    plan: Recipe,
    *,
    model: nn.Module | None = None,
    every: int = 1,
    resume: bool = False,
    fast: bool | None = False,
    **options,
) -> Run:
    model = network() if model is None else model
    rows: list[dict[str, float]] = []
    record = EpochRecord(
        folder, val_loader(), validate_every=every, on_epoch=lambda row: rows.append(dict(row))
    )
    trainer = make_trainer(
        max_epochs=plan.epochs,
        accelerator="cpu",
        devices=1,
        folder=folder,
        callbacks=[record],
        fast=fast,
        **options,
    )
    last = str(folder / "checkpoints" / "last.ckpt") if resume else None
    trainer.fit(TrainModule(model, plan), train_loader(), ckpt_path=last, weights_only=True)
    return Run(model, trainer, record, folder, rows)


def plain(
    plan: Recipe, *, model: nn.Module | None = None, clip: float | None = None, channels_last: bool = False
) -> tuple[nn.Module, list[dict]]:
    """The same training as one writes it without any framework; the weights after it and what each epoch saw."""
    model = (network() if model is None else model).train()
    if channels_last:
        model.to(memory_format=torch.channels_last)
    optimizer = plan.make_optimizer(params=list(model.parameters()))
    base = optimizer.param_groups[0]["lr"]
    loader, epochs, step = train_loader(), [], 0
    for epoch in range(plan.epochs):
        loader.set_epoch(epoch)
        losses, right, rates, count = 0.0, 0, [], 0
        for x, y, index in loader:
            rate = base * plan.schedule(step / plan.steps_per_epoch, total=plan.epochs)
            optimizer.param_groups[0]["lr"] = rate
            torch.manual_seed(derive_seed(plan.seed, "step", step, 0))
            generator = ExampleGenerator(derive_seed(plan.seed, "attack", step), index)
            moment = TrainStep(index, step / plan.steps_per_epoch, plan.epochs, generator)
            output = plan.defense(model, x, y, attack=plan.attack, step=moment)
            optimizer.zero_grad()
            output.total.backward()
            if clip is not None:
                torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
            optimizer.step()
            losses += output.total.item() * len(y)
            right += int((output.logits.argmax(1) == y).sum())
            count, step, rates = count + len(y), step + 1, [*rates, rate]
        weights = {name: value.clone() for name, value in model.state_dict().items()}
        epochs.append({"loss": losses / count, "accuracy": right / count, "lr": rates, "weights": weights})
    return model, epochs


def judged(model: nn.Module, weights: dict[str, Tensor]) -> tuple[float, float]:
    """Clean and robust accuracy on the validation part, one image at a time."""
    model.load_state_dict(weights)
    model.eval()
    clean = robust = 0
    for x, y, index in val_loader():
        for one in range(len(y)):
            generator = ExampleGenerator(derive_seed(SEED, "validation"), index[one : one + 1])
            image, label = x[one : one + 1], y[one : one + 1]
            right = bool(model(image).argmax(1) == label)
            x_adv = ATTACK(model, image, label, generator=generator)
            clean, robust = clean + right, robust + (right and bool(model(x_adv).argmax(1) == label))
    return clean / 10, robust / 10


def same(mine: dict[str, Tensor], theirs: dict[str, Tensor]) -> bool:
    return set(mine) == set(theirs) and all(torch.equal(mine[name], theirs[name]) for name in mine)


@pytest.mark.parametrize("schedule", [partial(multistep, milestones=[1, 2], gamma=0.5), cosine, cyclic])
@pytest.mark.parametrize("defense", [natural, pgd_at, trades], ids=lambda d: d.__name__)
def test_training_equals_a_plain_loop_to_the_bit(
    tmp_path: Path, defense: Callable, schedule: Callable
) -> None:
    plan = recipe(2, defense=defense, schedule=schedule)
    run = fit(tmp_path, plan)
    model, _ = plain(plan)
    assert same(run.model.state_dict(), model.state_dict())
    assert not same(run.model.state_dict(), network().state_dict())
    assert run.trainer.global_step == 4


def test_with_channels_last_training_equals_a_plain_loop_in_that_layout(tmp_path: Path) -> None:
    run = fit(tmp_path, recipe(2), channels_last=True)
    model, _ = plain(recipe(2), channels_last=True)
    assert same(run.model.state_dict(), model.state_dict())
    assert run.model[0].weight.is_contiguous()
    (folder := tmp_path / "other").mkdir()
    other = fit(folder, recipe(2))
    assert other.model[0].weight.is_contiguous(memory_format=torch.channels_last)
    for name, value in model.state_dict().items():
        torch.testing.assert_close(other.model.state_dict()[name], value, rtol=0, atol=1e-5)


def test_gradient_clipping_and_dropout_equal_a_plain_loop_s(tmp_path: Path) -> None:
    plan = recipe(2)
    run = fit(tmp_path, plan, model=network(dropout=True), grad_clip=0.01)
    model, _ = plain(plan, model=network(dropout=True), clip=0.01)
    for name, value in model.state_dict().items():
        torch.testing.assert_close(run.model.state_dict()[name], value, rtol=0, atol=1e-7)
    assert not same(model.state_dict(), plain(plan, model=network(dropout=True))[0].state_dict())


@pytest.mark.parametrize(
    ("schedule", "final"),
    [
        (partial(multistep, milestones=[1, 2], gamma=0.5), 0.1 * 0.25),
        (partial(cosine, final=0.2), 0.1 * 0.2),
        (cyclic, 0.0),
    ],
)
def test_the_final_learning_rate_is_the_schedule_s_at_the_end(
    tmp_path: Path, schedule: Callable, final: float
) -> None:
    run = fit(tmp_path, recipe(3, schedule=schedule))
    assert run.trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(final, abs=1e-12)
    assert run.trainer.lr_scheduler_configs[0].scheduler.last_epoch == 3 * 2


def test_metrics_csv_has_one_row_an_epoch_with_what_a_plain_loop_counts(tmp_path: Path) -> None:
    plan = recipe(3)
    run = fit(tmp_path, plan)
    _, epochs = plain(plan)
    rows = run.csv()
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    for row, expected in zip(rows, epochs, strict=True):
        assert float(row["train_loss"]) == pytest.approx(expected["loss"], rel=1e-4)
        assert row["train_loss_ce_adv"] == row["train_loss"]
        assert float(row["train_accuracy"]) == pytest.approx(expected["accuracy"], rel=1e-5)
        clean, robust = judged(network(), expected["weights"])
        assert (float(row["val_clean"]), float(row["val_robust"])) == (clean, robust)
        assert float(row["seconds"]) > 0 and float(row["images_per_second"]) > 0
    assert [float(f"{row['train_loss']:.6g}") for row in run.rows] == [
        float(row["train_loss"]) for row in rows
    ]


def test_the_rate_in_metrics_csv_is_one_that_its_epoch_was_trained_with(tmp_path: Path) -> None:
    plan = recipe(3)
    rows = fit(tmp_path, plan).csv()
    for row, expected in zip(rows, plain(plan)[1], strict=True):
        assert float(row["lr"]) in [pytest.approx(rate) for rate in expected["lr"]]


def test_the_network_is_validated_every_so_many_epochs_and_after_the_last(tmp_path: Path) -> None:
    run = fit(tmp_path, recipe(5), every=2)
    assert [int(row["epoch"]) for row in run.csv() if row["val_robust"]] == [2, 4, 5]


def scripted(
    monkeypatch: pytest.MonkeyPatch, robust: list[float], clean: Iterable[float] = itertools.repeat(1.0)
) -> None:
    values = zip(clean, robust, strict=False)
    monkeypatch.setattr(
        TrainModule,
        "validate",
        lambda self, *_: dict(zip(("val_clean", "val_robust"), next(values), strict=True)),
    )


@pytest.mark.parametrize(
    ("robust", "clean", "best"),
    [
        ([0.1, 0.4, 0.4, 0.2], [0.9, 0.5, 0.5, 0.9], 2),
        ([0.0, 0.0, 0.0, 0.0], [0.5, 0.5, 0.5, 0.5], 1),
        (
            [0.0, 0.0, 0.0, 0.0],
            [0.5, 0.6, 0.9, 0.8],
            3,
        ),  # natural training: no epoch is robust, the cleanest is kept
        ([0.1, 0.2, 0.3, 0.4], [0.9, 0.8, 0.7, 0.6], 4),
    ],
)
def test_the_best_epoch_is_the_most_robust_then_the_cleanest_then_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, robust: list[float], clean: list[float], best: int
) -> None:
    scripted(monkeypatch, robust, clean)
    plan = recipe(4)
    run = fit(tmp_path, plan)
    _, epochs = plain(plan)
    assert run.record.best_epoch == best and run.record.best == (robust[best - 1], clean[best - 1])
    for name, epoch in (("best", best), ("last", 4)):
        saved = run.checkpoint(name)["state_dict"]
        weights = {key.removeprefix("model."): value for key, value in saved.items()}
        assert same(weights, epochs[epoch - 1]["weights"])
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == [
        "best.ckpt",
        "last.ckpt",
        "previous.ckpt",
    ]


def broken_at(step: int, kind: str) -> Callable[..., LossOutput]:
    """pgd_at until that many calls were made; then its loss is no number, or it fails."""
    calls = 0

    def defense(model: nn.Module, x: Tensor, y: Tensor, **options) -> LossOutput:
        nonlocal calls
        output = pgd_at(model, x, y, **options)
        calls += 1
        if calls <= step:
            return output
        if kind == "fails":
            raise KeyError("out of memory")
        return output._replace(total=output.total * float(kind))

    return defense


@pytest.mark.parametrize("kind", ["nan", "inf"])
def test_a_loss_that_is_no_number_stops_training_and_keeps_the_last_good_checkpoint(
    tmp_path: Path, kind: str
) -> None:
    with pytest.raises(NonFiniteLoss, match=r"at step 5 of 8 \(epoch 3\); .*optimizer\.lr"):
        fit(tmp_path, recipe(4, defense=broken_at(4, kind)))
    saved = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert saved["epoch"] == 1 and saved["global_step"] == 4
    _, epochs = plain(recipe(4))
    assert same({k.removeprefix("model."): v for k, v in saved["state_dict"].items()}, epochs[1]["weights"])
    assert len((tmp_path / "metrics.csv").read_text().splitlines()) == 1 + 2


@pytest.mark.parametrize("stopped_at", [2, 3, 4])
def test_a_run_that_stopped_goes_on_from_its_last_epoch_to_the_same_bits(
    tmp_path: Path, stopped_at: int
) -> None:
    (tmp_path / "whole").mkdir()
    (folder := tmp_path / "stopped").mkdir()
    whole = fit(tmp_path / "whole", recipe(4), model=network(dropout=True))
    with pytest.raises(KeyError, match="out of memory"):
        fit(folder, recipe(4, defense=broken_at(stopped_at, "fails")), model=network(dropout=True))
    torch.manual_seed(1234)  # what another process's global state may be
    resumed = fit(folder, recipe(4), model=network(dropout=True), resume=True)
    assert same(resumed.model.state_dict(), whole.model.state_dict())
    for name in ("best", "last"):
        assert same(resumed.checkpoint(name)["state_dict"], whole.checkpoint(name)["state_dict"])
    mine, theirs = (run.trainer.optimizers[0].state_dict()["state"] for run in (resumed, whole))
    assert all(torch.equal(mine[key]["momentum_buffer"], theirs[key]["momentum_buffer"]) for key in theirs)
    timed = {"seconds", "images_per_second"}
    rows = [
        [{k: v for k, v in row.items() if k not in timed} for row in run.csv()] for run in (resumed, whole)
    ]
    assert rows[0] == rows[1] and len(rows[0]) == 4
    assert [row["epoch"] for row in resumed.rows] == list(range(stopped_at // 2 + 1, 5))


def test_training_is_a_function_of_the_seed_and_not_of_the_global_random_state(tmp_path: Path) -> None:
    found = []
    for number, (state, seed) in enumerate([(1, SEED), (2, SEED), (1, SEED + 1)]):
        torch.manual_seed(state)
        (folder := tmp_path / str(number)).mkdir()
        found.append(fit(folder, recipe(1, seed=seed), model=network(dropout=True)).model.state_dict())
    assert same(found[0], found[1]) and not same(found[0], found[2])


def test_validation_restores_training_mode_and_touches_no_statistics(tmp_path: Path) -> None:
    module = TrainModule(network().train(), recipe(1))
    module.trainer = make_trainer(max_epochs=1, accelerator="cpu", devices=1)
    before = {name: value.clone() for name, value in module.model.state_dict().items()}
    found = module.validate(val_loader())
    assert all(m.training for m in module.model.modules()) and same(module.model.state_dict(), before)
    clean, robust = judged(network(), before)
    assert found == {"val_clean": clean, "val_robust": robust}


@pytest.mark.parametrize("norm", ["inf", 2])
def test_a_network_that_is_always_wrong_validates_to_nought(norm) -> None:
    class AlwaysWrong(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bias = nn.Parameter(torch.tensor([0.0, 0, 0, 9]))

        def forward(self, x: Tensor) -> Tensor:
            return self.bias + 0 * x.flatten(1).sum(1, keepdim=True)

    attack = partial(pgd, threat=Threat(norm, 0.1), steps=2, step_size=0.05)
    module = TrainModule(AlwaysWrong(), recipe(1, validation_attack=attack))
    module.trainer = make_trainer(max_epochs=1, accelerator="cpu", devices=1)
    assert module.validate(val_loader()) == {"val_clean": 0.0, "val_robust": 0.0}


def test_progress_counts_steps_to_the_total(tmp_path: Path) -> None:
    told: list[Progress] = []
    record = EpochRecord(tmp_path, val_loader(), validate_every=1, on_epoch=lambda row: None)
    trainer = make_trainer(
        max_epochs=3,
        accelerator="cpu",
        devices=1,
        folder=tmp_path,
        callbacks=[ProgressReport(told.append), record],
    )
    trainer.fit(TrainModule(network(), recipe(3)), train_loader())
    assert [(p.stage, p.step, p.total, p.unit) for p in told] == [
        ("train", n, 6, "step") for n in range(1, 7)
    ]
    assert told[-1].seconds_left == 0 and all(p.seconds_left > 0 for p in told[:-1])
    assert [p.note.partition(",")[0] for p in told[::2]] == ["epoch 1/3", "epoch 2/3", "epoch 3/3"]


def test_progress_in_phases_counts_each_epoch_s_own_steps_and_tells_no_time() -> None:
    told: list[Progress] = []
    trainer = SimpleNamespace(
        is_global_zero=True, max_epochs=3, num_training_batches=5, current_epoch=1, world_size=1
    )
    module, batch = TrainModule(network(), recipe(3, steps_per_epoch=(2, 5, 7, 9))), SimpleNamespace(y=[0])
    ProgressReport(told.append).on_train_batch_end(trainer, module, None, batch, 3)
    assert [(p.step, p.total, p.seconds_left) for p in told] == [(2 + 4, 2 + 5 + 7, None)]


def test_metrics_csv_leaves_cells_that_a_row_lacks_empty() -> None:
    text = metrics_csv([{"epoch": 1, "loss": 0.25}, {"epoch": 2, "loss": 1 / 3, "val": 0.5}])
    assert text == "epoch,loss,val\n1,0.25,\n2,0.333333,0.5\n"


def test_the_trainer_switches_off_what_is_done_elsewhere(tmp_path: Path) -> None:
    trainer = make_trainer(
        max_epochs=7, precision="bf16", accelerator="cpu", devices=1, grad_clip=5.0, folder=tmp_path
    )
    assert trainer.max_epochs == 7 and trainer.precision == "bf16-mixed" and trainer.gradient_clip_val == 5.0
    assert (
        trainer.logger is None
        and trainer.checkpoint_callback is None
        and trainer.progress_bar_callback is None
    )
    assert trainer.num_sanity_val_steps == 0


def test_cross_entropy_of_the_first_batch_is_the_first_loss(tmp_path: Path) -> None:
    run = fit(tmp_path, recipe(1, defense=natural, schedule=lambda t, total: 0.0))
    loader = train_loader()
    loader.set_epoch(0)
    net = network().train()
    expected = np.mean([F.cross_entropy(net(x), y).item() for x, y, _ in loader])
    assert run.rows[0]["train_loss"] == pytest.approx(expected, rel=1e-5)


def test_channels_last_is_refused_where_it_corrupts_memory() -> None:
    narrow = nn.Sequential(nn.Conv2d(16, 4, 1), nn.Conv2d(4, 8, 1, stride=2))
    with pytest.raises(
        InputError, match=r"trainer\.channels_last.*1 is a strided 1x1 convolution of 4 channels"
    ):
        refuse_unsafe_layout(narrow)
    for sound in (nn.Conv2d(8, 8, 1, stride=2), nn.Conv2d(4, 8, 3, stride=2), nn.Conv2d(4, 8, 1)):
        refuse_unsafe_layout(sound)
