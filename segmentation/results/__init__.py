"""Knowing afterwards whether a campaign worked: who was in which arm, what became of them, and what that proves."""
