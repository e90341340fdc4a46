"""Random streams: one independent generator for every block of customers and purpose.

A customer's draws depend on the seed and the block alone, so output is the same in any order of blocks,
customer 17 is the same person whatever N, and switching browsing patterns leaves every order unchanged.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np

BLOCK = 2_000  # customers simulated together; part of the model: another size is another shop


class Stream(IntEnum):
    CATALOGUE = 0
    PROFILE = 1
    ORDERS = 2
    BASKETS = 3
    BROWSING = 4
    AFTERMATH = 5
    TEXTS = 6
    PEOPLE = 7
    GUESTS = 8
    DEVICES = 9
    RESPONSES = 10
    CAMPAIGN = 11


def generator(seed: int, stream: Stream, block: int = 0) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(int(stream), block)))
