"""Bring in a file of customers: profile, contact data, consent and the shop's own columns."""

from segmentation.imports.command import ImportCommand
from segmentation.models import ImportRun


class Command(ImportCommand):
    help = "Import a file of customers (CSV, CSV.gz, Parquet, XLSX) with a preset or a mapping."
    kind = ImportRun.Kind.CUSTOMERS
    presets = "tierwise"
