"""Speed and scale, measured: each benchmark prints what it took beside its floor or target, and writes JSON."""
