from django.apps import AppConfig
from django.db.models.signals import post_migrate
from django.utils.translation import gettext_lazy as _


class SegmentationConfig(AppConfig):
    name = "segmentation"
    verbose_name = _("Customers and segments")

    def ready(self) -> None:
        from segmentation import audit_guard
        from segmentation.access import checks  # noqa: F401  (registers itself)

        post_migrate.connect(audit_guard.put_up, sender=self, dispatch_uid="audit_guard")
