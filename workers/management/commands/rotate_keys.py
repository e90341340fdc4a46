from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.core.management.base import BaseCommand
from django.db import transaction

from crm_integration.models import Connection
from segmentation import crypto
from segmentation.access import second_factor
from segmentation.models import ContactData, PrivacyRequest, StoredFileChunk

BATCH = 500
SECRETS = (
    "inbound_secret",
    "inbound_secret_previous",
    "outbound_secret",
    "outbound_secret_previous",
    "api_credentials",
)


class Command(BaseCommand):
    help = (
        "Re-encrypt contact keys, stored files, privacy requests, second factors and connection secrets under the "
        "first key of FIELD_ENCRYPTION_KEYS. Put the new key first, run this, "
        "then remove the old one. It can be stopped and run again."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        contacts = sum(self._contact_keys())
        files = self._stored_files()
        requests = self._privacy_requests()
        factors = second_factor.reencrypt()
        with transaction.atomic():
            connections = list(Connection.objects.all())
            Connection.objects.bulk_update(connections, SECRETS)
        self.stdout.write(
            f"{contacts} contact keys, {files} pieces of files, {requests} privacy requests, {factors} second factors "
            f"and the secrets of {len(connections)} connections re-encrypted"
        )

    def _stored_files(self) -> int:
        """Uploads and lists of rejected lines, which stay for some days."""
        chunks = StoredFileChunk.objects.all()
        for chunk in chunks.iterator(chunk_size=4):
            chunks.filter(pk=chunk.pk).update(content=crypto.rotate(bytes(chunk.content)))
        return chunks.count()

    def _privacy_requests(self) -> int:
        """Whom open ones are about, and answers that are kept for a while."""
        rows = PrivacyRequest.objects.exclude(subject="", result=None)
        for row in rows.iterator(chunk_size=4):
            with transaction.atomic():
                held = rows.select_for_update().filter(pk=row.pk).first()
                if held is not None:
                    held.result = None if held.result is None else crypto.rotate(bytes(held.result))
                    held.save(update_fields=["subject", "result"])
        return rows.count()

    def _contact_keys(self) -> Iterator[int]:
        """Each customer's own key is wrapped anew; what it seals stays as it is."""
        last = 0
        while rows := list(
            ContactData.objects.filter(pk__gt=last).order_by("pk").only("pk", "data_key")[:BATCH]
        ):
            for row in rows:
                row.data_key = crypto.rotate(bytes(row.data_key))
            with transaction.atomic():
                ContactData.objects.bulk_update(rows, ["data_key"])
            last = rows[-1].pk
            yield len(rows)
