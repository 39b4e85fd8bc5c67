"""One thread for tensors in every test process: many processes share the cores, and sums come out in one order."""

import sys


def pytest_collection_finish() -> None:
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(1)
