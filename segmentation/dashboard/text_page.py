"""What reads reviews and tickets: by which model, how well it tells good from bad, what they are about, what waits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.utils.translation import gettext as _

from segmentation import text_models, texts
from segmentation.dashboard import words
from segmentation.dashboard.charts import Table
from segmentation.ml import encoders
from segmentation.models import ProductImage, TextModel

MODELS_SHOWN = 12


@dataclass(frozen=True)
class TextPage:
    """`reads_by`: the encoder, or that there is none and why. `topics`, `models`: None before the first model."""

    reads_by: str
    waiting: str
    newest: tuple[str, ...]
    topics: Table | None
    models: Table | None
    pictures: str


def build() -> TextPage:
    rows = list(TextModel.objects.order_by("-as_of").defer("content")[:MODELS_SHOWN])
    newest = rows[0] if rows else None
    return TextPage(
        reads_by=_reads_by(),
        waiting=_waiting(has_model=newest is not None),
        newest=tuple(_newest(newest)) if newest else (),
        topics=_topics(newest) if newest else None,
        models=_models(rows) if rows else None,
        pictures=_pictures(),
    )


def _reads_by() -> str:
    try:
        name = encoders.name(settings.TEXT_ENCODER)
    except encoders.NoEncoder as error:
        return _("The encoder that is set cannot be used: %(reason)s") % {"reason": error}
    if name:
        return _("Words and letters, joined with the frozen encoder %(name)s.") % {"name": name}
    return _(
        "Words and letters alone (TF-IDF). With the packages of requirements-text.txt a frozen encoder of sentences is "
        "joined with them, which understands texts better."
    )


def _waiting(*, has_model: bool) -> str:
    found = texts.waiting()
    if found.needs:
        return _(
            "Texts that wait: %(count)s. Their model needs the encoder %(name)s, which is not set here."
        ) % {
            "count": words.number(found.texts),
            "name": found.needs,
        }
    if not has_model:
        return _(
            "Nothing is read yet: a first model needs %(each)s good and %(each)s bad ratings with a text, or %(texts)s "
            "texts to tell topics alone. Texts that wait: %(count)s."
        ) % {
            "each": text_models.FEWEST_OF_EACH,
            "texts": text_models.FEWEST_TEXTS,
            "count": words.number(found.texts),
        }
    return _("Texts that wait: %(count)s.") % {"count": words.number(found.texts)}


def _newest(row: TextModel) -> Iterator[str]:
    about = row.about
    given = {name: words.number(about.get(name, 0)) for name in ("texts", "good", "bad")}
    yield _("Reads texts from %(day)s on; learned from %(texts)s texts before it.") % {
        "day": words.day(row.as_of),
        **given,
    }
    if not about.get("sentiment"):
        yield (
            _("It tells topics alone: there were %(good)s good and %(bad)s bad ratings with a text.") % given
        )
        return
    yield _("Good and bad were learned from %(good)s good and %(bad)s bad ratings.") % given
    if about.get("test"):
        yield _(
            "On the newest fifth, held back: it ranks a good text above a bad one in %(auc)s of the pairs, and sorts "
            "%(right)s right (mean of both kinds; %(count)s texts)."
        ) % {
            "auc": words.percent(about["test"]["auc"], 1),
            "right": words.percent(about["test"]["balanced_accuracy"], 1),
            "count": words.number(about["test"]["texts"]),
        }


def _topics(row: TextModel) -> Table | None:
    named = [topic for topic in row.about.get("topics", ()) if topic["words"]]
    if not named:
        return None
    headers = (_("Topic"), _("Words"), _("Texts"), _("Like the topic before"))
    return Table(headers, tuple(tuple(_topic(topic)) for topic in named))


def _topic(topic: dict[str, Any]) -> Iterator[str]:
    yield str(topic["number"])
    yield ", ".join(topic["words"])
    yield words.number(topic["texts"])
    yield words.NOTHING if topic["likeness"] is None else words.percent(topic["likeness"])


def _models(rows: list[TextModel]) -> Table:
    headers = (_("Reads texts from"), _("Learned from"), _("Tells good from bad (AUC)"), _("Encoder"))
    return Table(headers, tuple(tuple(_model(row)) for row in rows))


def _model(row: TextModel) -> Iterator[str]:
    yield words.day(row.as_of)
    yield words.number(row.about.get("texts", 0))
    test = row.about.get("test")
    yield words.number(test["auc"], 3) if test else words.NOTHING
    yield row.encoder or _("none")


def _pictures() -> str:
    if ProductImage.objects.exists():
        return _("Products with a picture are also compared by it when products are suggested.")
    return _(
        "No product has a picture: products are compared by name and category alone. “manage.py product_images FOLDER” "
        "reads pictures."
    )
