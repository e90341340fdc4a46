"""Web processes stay light: serving pages and webhooks loads none of the learning libraries."""

from __future__ import annotations

import os
import subprocess
import sys

SCRIPT = """
import django, sys
django.setup()
from django.contrib import admin
from django.urls import reverse
import config.urls, config.wsgi
reverse("admin:index")
print(sorted({"torch", "lightgbm", "sklearn", "scipy", "celery"} & set(sys.modules)))
"""


def test_the_web_process_imports_no_learning_library(tmp_path):
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "config.settings", "TIERWISE_VAR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip().splitlines()[-1] == "[]"
