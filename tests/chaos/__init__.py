"""Real processes, real faults, and an oracle that stands outside the product (docs/reliability.md)."""
