from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class CrmIntegrationConfig(AppConfig):
    name = "crm_integration"
    verbose_name = _("Connections")
