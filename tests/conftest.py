"""One thread for tensors in every process, the tests' and those that they start: many share the cores, and sums come out in one order.

Hypothesis draws its examples by the test and not by chance, keeps none, and sets none a time limit, for the cores may be busy.
"""

import os
import sys

import pytest
from hypothesis import settings

os.environ["OMP_NUM_THREADS"] = "1"

# Before the tests are imported: what one of them sets for itself is laid over what holds then.
settings.register_profile("repeatable", deadline=None, derandomize=True, database=None)
settings.load_profile("repeatable")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # Nobody waits in the end for the one that began a minute's test last.
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


def pytest_collection_finish() -> None:
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(1)
