from __future__ import annotations

from django.db import models
from django.db.models.functions import Now


class StoredFileChunk(models.Model):
    """A piece (at most 1 MiB, encrypted) of a file that any machine may need; `name` is its path below the data folder."""

    name = models.CharField(max_length=400)
    number = models.PositiveIntegerField()
    content = models.BinaryField()
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [models.UniqueConstraint(fields=["name", "number"], name="file_chunk_is_stored_once")]

    def __str__(self) -> str:
        return f"{self.name}/{self.number}"
