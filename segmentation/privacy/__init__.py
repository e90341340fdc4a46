"""People and their data: hand out everything that is held about somebody, or erase them everywhere.

requests: the doors' one way in, and the job · subjects: who a person is · sources: who is known by one source alone ·
exporting, erasing: what is done · places, rows, traces, files: where a person is found · holders: who else holds
something · versions: models that may have learned from them. That the erased stay away is the business of
segmentation/tombstones.py.
"""

from segmentation.privacy.exporting import export
from segmentation.privacy.requests import (
    Kind,
    NotAsked,
    again,
    answer,
    erase,
    lift,
    request,
    request_for,
    request_from,
    review,
    work,
)

__all__ = [
    "Kind",
    "NotAsked",
    "again",
    "answer",
    "erase",
    "export",
    "lift",
    "request",
    "request_for",
    "request_from",
    "review",
    "work",
]
