"""Square: bit-equal to the published code under the same random numbers, and the rules of the house."""

import pytest
import torch
from pyautoattack.square import SquareAttack
from torch import nn

from advarch.attacks.square import square
from advarch.attacks.square_search import fractions, search
from advarch.attacks.square_windows import (
    Draws,
    L2Windows,
    LinfWindows,
    draw,
    pattern,
    repeated,
    tile_corners,
)
from advarch.noise import ExampleGenerator
from advarch.threat import Threat
from tests.attacks.small_nets import Linear, images, interior, predictions, small_net


class Replay:
    """The random numbers of the published code, in the order in which it asks for them."""

    def __init__(self, seed):
        self.generator = torch.Generator().manual_seed(seed)

    def uniform(self, *shape):
        return torch.rand(shape, generator=self.generator)

    def sign(self, *shape):
        return (2 * self.uniform(*shape) - 1).sign()

    def below(self, count):
        return (count * self.uniform(1)).long()


def linf_windows(x, eps, queries, seed):
    """The published code draws one window and one set of signs for the whole batch; a corner is below h - s."""
    replay, (n, c, h, w) = Replay(seed), x.shape
    sides = LinfWindows.sides(fractions(queries, 0.8, False), h, w)
    stripes, place, sign = replay.sign(n, c, 1, w), [], []
    for side in sides.tolist():
        place.append(torch.stack((replay.below(h - side), replay.below(w - side)), dim=-1))
        sign.append(replay.sign(c, 1, 1).view(1, c))
    drawn = Draws(
        torch.stack(place, 1).expand(n, -1, -1),
        torch.stack(sign, 1).expand(n, -1, -1),
        torch.zeros(n, queries) > 0,
    )
    return LinfWindows(x, eps, sides, stripes, drawn)


def l2_windows(x, eps, queries, seed):
    """For one image: with more, the published code's numbers shift whenever an image falls."""
    replay, (n, c, h, w) = Replay(seed), x.shape
    assert n == 1
    tile_turned, tile_sign, place, turned, sign = [], [], [], [], []
    for _ in tile_corners(h, w)[1]:
        tile_turned.append(replay.uniform(1) > 0.5)
        tile_sign.append(replay.sign(n, c, 1, 1).view(n, c))
    sides = L2Windows.sides(fractions(queries, 0.8, False), h, w)
    for side in sides.tolist():
        place.append(torch.stack([replay.below(room - side) for room in (h, w, h, w)], dim=-1))
        turned.append(replay.uniform(1) > 0.5)
        sign.append(replay.sign(n, c, 1, 1).view(n, c))
    drawn = Draws(torch.stack(place, 1), torch.stack(sign, 1), torch.stack(turned, 1))
    return L2Windows(x, eps, sides, torch.stack(tile_sign, 1), torch.stack(tile_turned, 1), drawn)


def published(net, x, norm, eps, queries):
    attack = SquareAttack(
        net,
        norm=norm,
        n_queries=queries,
        eps=eps,
        p_init=0.8,
        seed=0,
        resc_schedule=False,
        device="cpu",
        verbose=False,
    )
    attack.init_hyperparam(x)
    return attack


@pytest.mark.parametrize("channels, size, queries", [(3, 12, 700), (1, 8, 1200)])
@pytest.mark.parametrize("max_rows", [1, 128])
def test_linf_is_bit_equal_to_the_published_code(channels, size, queries, max_rows):
    # Pixels and eps are multiples of 1/256: x - eps + 2 eps, which the published code adds up, is then x + eps exactly.
    net = small_net(channels=channels)
    x, eps = (images(20, channels, size, size) * 256).round() / 256, 4 / 256
    y = predictions(net, x)
    reference = published(net, x, "Linf", eps, queries)
    torch.manual_seed(5)
    asked, expected = reference.attack_single_run(x, y)
    found = search(net, y, linf_windows(x, eps, queries, 5), queries, max_rows)
    assert torch.equal(found.points, expected)
    assert torch.equal(found.queries.float(), asked)
    assert 0 < found.fooled.sum() < len(x)


def test_linf_on_any_pixels_differs_by_rounding_only():
    net, x = small_net(), images(12, 3, 12, 12)
    y = predictions(net, x)
    reference = published(net, x, "Linf", 0.0157, 300)
    torch.manual_seed(5)
    _, expected = reference.attack_single_run(x, y)
    found = search(net, y, linf_windows(x, 0.0157, 300, 5), 300, 128)
    torch.testing.assert_close(found.points, expected, atol=2.5e-7, rtol=0)


@pytest.mark.parametrize("size", [10, 16])
def test_l2_equals_the_published_code(size):
    net, x = small_net(), images(6, 3, size, size)
    y = predictions(net, x)
    for i in range(len(x)):
        one, label = x[i : i + 1], y[i : i + 1]
        reference = published(net, one, "L2", 0.3, 250)
        torch.manual_seed(i)
        asked, expected = reference.attack_single_run(one, label)
        found = search(net, label, l2_windows(one, 0.3, 250, i), 250, 16)
        torch.testing.assert_close(found.points, expected, atol=2e-6, rtol=0)
        assert found.queries.item() == asked.item()


def test_pattern_and_schedule():
    for side in (1, 2, 3, 7, 8):
        assert pattern(side).square().sum() == pytest.approx(1.0, abs=1e-6)
    steps = fractions(10_000, 0.8, False)
    changes = [i for i in range(1, 10_000) if steps[i] != steps[i - 1]]
    assert changes == [11, 51, 201, 501, 1001, 2001, 4001, 6001, 8001]
    assert steps[0] == 0.8 and steps[-1] == 0.8 / 512 and fractions(5000, 0.8, False) == steps[:5000]
    assert fractions(5000, 0.8, True) == steps[::2]


def test_comes_near_the_optimum_of_a_linear_model():
    # l_inf with windows of one pixel is coordinate ascent and ends at the optimum exactly. The l_2 windows have at least
    # 3 x 3 pixels of one shape, too coarse for a slope that is white noise.
    net, x = Linear(2, (1, 4, 5)), interior(8, (1, 4, 5))
    y = predictions(net, x)
    slope = (net.weight[1 - y] - net.weight[y]).detach()
    with torch.no_grad():
        lead = net(x).gather(1, 1 - y[:, None]).squeeze(1) - net(x).gather(1, y[:, None]).squeeze(1)
    for norm, dual, share in (("inf", 1, 1.0), ("2", 2, 0.5)):
        rise = 0.02 * slope.norm(p=dual, dim=1)
        stands = lead + rise < 0
        assert stands.sum() >= 3
        found = square(net, x, y, threat=Threat(norm, 0.02), queries=1500)
        with torch.no_grad():
            after = net(found).gather(1, 1 - y[:, None]).squeeze(1) - net(found).gather(
                1, y[:, None]
            ).squeeze(1)
        assert ((after - lead)[stands] >= share * rise[stands] - 1e-9).all()
        assert ((after - lead) <= rise + 1e-9).all()


@pytest.mark.parametrize("norm, eps", [("inf", 0.02), ("2", 0.2)])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_result_does_not_depend_on_batch_or_passes(norm, eps, channels):
    net, x = small_net(channels=channels).double(), images(6, channels, 7, 9).double()
    y = predictions(net, x)
    options = {"threat": Threat(norm, eps), "queries": 150, "restarts": 2}
    together = square(net, x, y, generator=ExampleGenerator(5, torch.arange(6)), **options)
    one_by_one = square(net, x, y, generator=ExampleGenerator(5, torch.arange(6)), max_rows=1, **options)
    torch.testing.assert_close(one_by_one, together, atol=1e-12, rtol=0)
    order = torch.tensor([3, 0, 1, 5, 2, 4])
    permuted = square(net, x[order], y[order], generator=ExampleGenerator(5, order), **options)
    torch.testing.assert_close(permuted, together[order], atol=1e-12, rtol=0)
    for i in range(6):
        alone = square(
            net, x[i : i + 1], y[i : i + 1], generator=ExampleGenerator(5, torch.tensor([i])), **options
        )
        torch.testing.assert_close(alone, together[i : i + 1], atol=1e-12, rtol=0)


def test_leaves_everything_as_found():
    net, x = nn.Sequential(nn.BatchNorm2d(3), small_net()).train(), images(6)
    net[0].eval()
    net[1][0].weight.requires_grad_(False)
    y = predictions(net, x)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    flags = [module.training for module in net.modules()] + [p.requires_grad for p in net.parameters()]
    state = torch.get_rng_state()
    square(net, x, y, threat=Threat("inf", 0.02), queries=20)
    assert torch.equal(state, torch.get_rng_state())
    assert flags == [module.training for module in net.modules()] + [
        p.requires_grad for p in net.parameters()
    ]
    assert all(parameter.grad is None for parameter in net.parameters())
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())


@pytest.mark.parametrize("classes", [2, 3, 10, 100, 1000])
@pytest.mark.parametrize("norm", ["inf", "2"])
@pytest.mark.parametrize("shape", [(1, 5, 7), (3, 14, 9), (1, 3, 2)])
def test_any_number_of_classes_and_any_shape(classes, norm, shape):
    torch.manual_seed(1)
    net = nn.Sequential(nn.Flatten(), nn.Linear(shape[0] * shape[1] * shape[2], classes))
    x = torch.rand(4, *shape)
    y = predictions(net, x)
    threat = Threat(norm, 0.3)
    found = square(net, x, y, threat=threat, queries=25)
    assert found.isfinite().all() and found.amin() >= 0 and found.amax() <= 1
    assert (threat.distance(found, x) <= 0.3 + 1e-6).all()


@pytest.mark.parametrize("norm", ["inf", "2"])
def test_zero_radius_wrong_labels_no_queries_and_no_images(norm):
    net, x = small_net(), images(5)
    y = predictions(net, x)
    assert torch.equal(square(net, x, y, threat=Threat(norm, 0.0), queries=5), x)
    threat = Threat(norm, 0.1)
    assert torch.equal(square(net, x, (y + 1) % 10, threat=threat, queries=5), x)
    assert square(net, x[:0], y[:0], threat=threat, queries=5).shape == x[:0].shape
    assert (threat.distance(square(net, x, y, threat=threat, queries=0), x) > 0).all()
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        square(net, x + 1, y, threat=threat, queries=1)


class Asking(LinfWindows):
    """Asks the model every time."""

    def idle(self, rows, queries, since):
        return None


@pytest.mark.parametrize("channels", [1, 3])
def test_what_was_refused_before_is_not_asked_again_and_nothing_else_changes(channels):
    net, x = small_net(channels=channels).double(), images(6, channels, 5, 6).double()
    y, queries, asked = predictions(net, x), 1500, []
    sizes = LinfWindows.sides(fractions(queries, 0.8, False), 5, 6)
    stripes = LinfWindows.stripes(x, None)
    drawn = draw(x, sizes, 1, ExampleGenerator(4, torch.arange(6)))
    found = []
    for kind in (Asking, LinfWindows):
        rows = []
        net.register_forward_pre_hook(lambda net, inputs, rows=rows: rows.append(len(inputs[0])))
        found.append(search(net, y, kind(x, 0.01, sizes, stripes, drawn), queries, 1))
        asked.append(sum(rows))
        net._forward_pre_hooks.clear()
    # Batches of other sizes round otherwise: the margins alone are not the same to the last bit.
    torch.testing.assert_close(found[1].margin, found[0].margin, rtol=0, atol=1e-12)
    for part in ("points", "fooled", "queries"):
        assert torch.equal(getattr(found[1], part), getattr(found[0], part)), part
    assert (~found[0].fooled).sum() >= 3
    # 30 places of one pixel, a window of each sign: most of the late queries are old ones.
    assert asked[1] < (0.2 if channels == 1 else 0.85) * asked[0]


def test_repeated_names_the_last_equal_query():
    sizes = torch.tensor([2, 1, 1, 2, 1, 1, 1])
    place = torch.tensor([[0, 0], [0, 1], [0, 1], [0, 0], [0, 1], [1, 0], [0, 1]])[None].short()
    sign = torch.tensor([[1, -1], [1, 1], [-1, 1], [1, -1], [1, 1], [1, 1], [1, 1]])[None].to(torch.int8)
    draws = Draws(place, sign, torch.zeros(1, 7) > 0)
    assert repeated(sizes, draws, 3).tolist() == [[-1, -1, -1, 0, 1, -1, 4]]
    many = Draws(place, sign.repeat(1, 1, 20), draws.turned)
    assert (repeated(sizes, many, 3) == -1).all()
