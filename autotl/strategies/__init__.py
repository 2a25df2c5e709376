"""The ways to use a pretrained network. A new one is one file here and one line below."""

from autotl.strategies.base import Strategy
from autotl.strategies.bottleneck import Bottleneck
from autotl.strategies.finetune import Finetune
from autotl.strategies.scratch import Scratch

STRATEGIES: dict[str, Strategy] = {
    strategy.name: strategy for strategy in (Bottleneck(), Finetune(), Scratch())
}

__all__ = ["STRATEGIES", "Strategy"]
