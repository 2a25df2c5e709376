"""The bare loop: it trains, on every sample, and can be stepped."""

import copy
import itertools

import pytest
import torch
from torch import Tensor, nn

from autotl.errors import InputError
from studies.reuse.bare import bare_loop, bare_steps


class Recorder(nn.Module):
    """A linear classifier that keeps what it was shown."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 2)
        self.seen: list[Tensor] = []
        self.dtypes: list[torch.dtype] = []

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(x.detach().clone())
        logits: Tensor = self.linear(x.mean(dim=(2, 3)))
        self.dtypes.append(logits.dtype)
        return logits


@pytest.fixture
def pixels() -> Tensor:
    """Ten grey pictures of values 0, 20, 40, ..."""
    return (torch.arange(10, dtype=torch.uint8) * 20).view(10, 1, 1, 1).expand(10, 3, 4, 4).clone()


def test_an_epoch_shows_every_sample_once_normalised(pixels: Tensor) -> None:
    network = Recorder()
    labels = torch.zeros(10, dtype=torch.int64)
    mean, std = (0.0, 0.0, 0.0), (1.0, 0.5, 1.0)
    for _ in itertools.islice(bare_steps(network, pixels, labels, 5, mean=mean, std=std), 2):
        pass
    shown = torch.cat(network.seen)
    torch.testing.assert_close(shown[:, 0, 0, 0].sort().values * 255, torch.arange(10.0) * 20)
    torch.testing.assert_close(shown[:, 1], 2 * shown[:, 0])


def test_steps_reduce_the_loss(pixels: Tensor) -> None:
    network = Recorder()
    labels = (torch.arange(10) >= 5).long()

    @torch.no_grad()
    def loss() -> float:
        x = (pixels.float() - 127.5) / 127.5
        return float(nn.functional.cross_entropy(network(x), labels))

    before = loss()
    seconds = list(itertools.islice(bare_steps(network, pixels, labels, 5), 200))
    assert loss() < 0.8 * before
    assert min(seconds) > 0


def test_steps_are_those_of_adamw_on_each_batch(pixels: Tensor) -> None:
    network = Recorder()
    expected = copy.deepcopy(network.linear)
    labels = torch.zeros(10, dtype=torch.int64)
    for _ in itertools.islice(bare_steps(network, pixels, labels, 4), 6):
        pass
    optimizer = torch.optim.AdamW(expected.parameters())
    for x in network.seen:
        optimizer.zero_grad()
        logits = expected(x.mean(dim=(2, 3)))
        nn.functional.cross_entropy(logits, torch.zeros(4, dtype=torch.int64)).backward()
        optimizer.step()
    torch.testing.assert_close(network.linear.weight, expected.weight)


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_precision_and_layout_are_as_asked(
    pixels: Tensor, precision: str, channels_last: bool
) -> None:
    network = Recorder()
    labels = torch.zeros(10, dtype=torch.int64)
    speed = bare_loop(network, pixels, labels, 4, precision, channels_last, n_steps=3, n_warmup=1)
    assert speed > 0
    assert len(network.seen) == 4
    layout = torch.channels_last if channels_last else torch.contiguous_format
    assert all(x.is_contiguous(memory_format=layout) for x in network.seen)
    assert set(network.dtypes) == {torch.bfloat16 if precision == "bf16" else torch.float32}


def test_too_large_a_batch_is_refused(pixels: Tensor) -> None:
    with pytest.raises(InputError, match="batch_size"):
        next(bare_steps(Recorder(), pixels, torch.zeros(10, dtype=torch.int64), 11))
