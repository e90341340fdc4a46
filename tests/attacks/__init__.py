"""Attacks on the doors in numbers: `python -m tests.attacks`; a twentieth of each runs with the tests."""
