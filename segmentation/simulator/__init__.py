"""A shop whose truth is known: a generative model that writes events, customers and the truth behind them."""

from __future__ import annotations

from .config import SimulationConfig, SimulationError
from .run import SimulationReport, simulate

__all__ = ["SimulationConfig", "SimulationError", "SimulationReport", "simulate"]
