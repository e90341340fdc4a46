"""Files of orders, events and customers, at their real size: read, checked, and stored once."""

from segmentation.imports.plan import Request
from segmentation.imports.preview import Preview, preview
from segmentation.imports.problems import ImportProblem, Reject
from segmentation.imports.report import ImportReport
from segmentation.imports.runner import OnProgress, request_cancel, request_run, run, work

__all__ = [
    "ImportProblem",
    "ImportReport",
    "OnProgress",
    "Preview",
    "Reject",
    "Request",
    "preview",
    "request_cancel",
    "request_run",
    "run",
    "work",
]
