"""Rows that several people may have open in a form at once."""

from __future__ import annotations

from django.db import models


class Edited(models.Model):
    """`edit_version` grows with every edit in the admin, so a form knows whether its row is still the one it showed."""

    edit_version = models.PositiveIntegerField(default=0, editable=False)

    class Meta:
        abstract = True
