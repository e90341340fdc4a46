"""`make demo`: the whole line on one machine, on a simulated shop or on a person's own file."""
