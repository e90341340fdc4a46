"""WSGI entry point: `granian --interface wsgi --blocking-threads 512 config.wsgi:application`."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
_django = get_wsgi_application()

from django.conf import settings  # noqa: E402 (once the settings are known)

from config.serving import patient  # noqa: E402
from crm_integration.wsgi import most_bytes, webhooks_first  # noqa: E402 (the models come first)

# What answers, in the thread that asks.
doors = webhooks_first(_django)
application = patient(doors, threads=settings.WEB_THREADS, most=settings.UPLOAD_MAX_BYTES, door=most_bytes)
