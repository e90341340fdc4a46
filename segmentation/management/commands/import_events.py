"""Bring in a file of orders or other customer behaviour."""

from segmentation.imports.command import ImportCommand
from segmentation.models import ImportRun


class Command(ImportCommand):
    help = "Import a file of orders or events (CSV, CSV.gz, Parquet, XLSX) with a preset or a mapping."
    kind = ImportRun.Kind.EVENTS
    presets = "online-retail, tierwise"
