"""The staff console; one file for each models file."""
