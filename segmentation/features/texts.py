"""Features of what a customer wrote: how content it sounds, what it is about, and whether others said the very same.

What the texts say was read once, by a model that knows nothing later than them (segmentation/texts.py).
"""

from __future__ import annotations

from django.utils.functional import lazy
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from segmentation.features import topic_words
from segmentation.features.facts import SENTIMENT_POINTS, TOPIC_NUMBERS
from segmentation.features.feature import Feature, share, worded
from segmentation.features.terms import last_read, total


def _topic_label(number: int) -> str:
    return gettext("Texts about %(topic)s") % {"topic": topic_words.said(number)}


def _topic_sentence(number: int) -> str:
    told = gettext("Share of their texts of a year that are about %(topic)s: %(value)s")
    return told % {"topic": topic_words.said(number), "value": "%(value)s"}


_lazy_label, _lazy_sentence = lazy(_topic_label, str), lazy(_topic_sentence, str)


def _sentiment(days: int) -> Feature:
    return Feature(
        name=f"sentiment_mean_{days}d",
        unit="sentiment",
        window_days=days,
        label=worded(_("Sentiment of %(days)s days"), days=days),
        sentence=worded(
            _(
                "How their reviews and tickets of the last %(days)s days sound, from -1 (bad) to 1 (good): %(value)s"
            ),
            days=days,
        ),
        expression=share(total("sentiment_points", days), total("sentiments", days) * SENTIMENT_POINTS),
    )


# Polars divides a column by one number as it multiplies by the inverse, but not in a frame of one row; columns it divides
# by columns, to the same last bit in both.
TEXTS = (
    _sentiment(90),
    _sentiment(365),
    Feature(
        name="sentiment_last",
        unit="sentiment",
        label=_("Sentiment of the last text"),
        sentence=_("How their last review or ticket sounds, from -1 (bad) to 1 (good): %(value)s"),
        expression=share(last_read(), total("sentiments").sign() * SENTIMENT_POINTS),
    ),
    *(
        Feature(
            name=f"negative_texts_{days}d",
            unit="times",
            window_days=days,
            label=worded(_("Unhappy texts in %(days)s days"), days=days),
            sentence=worded(
                _("Reviews and tickets of the last %(days)s days that sound unhappy: %(value)s"), days=days
            ),
            expression=total("negatives", days),
        )
        for days in (90, 365)
    ),
    Feature(
        name="negative_texts_share_365d",
        unit="share",
        window_days=365,
        label=_("Share of unhappy texts"),
        sentence=_("Share of their reviews and tickets of a year that sound unhappy: %(value)s"),
        expression=share(total("negatives", 365), total("sentiments", 365)),
    ),
    Feature(
        name="repeated_texts_365d",
        unit="times",
        window_days=365,
        label=_("Texts that were posted before"),
        sentence=_("Their texts of a year that somebody had posted word for word before: %(value)s"),
        expression=total("repeated", 365),
    ),
    Feature(
        name="rating_against_text_365d",
        unit="sentiment",
        window_days=365,
        label=_("Distance of stars and words"),
        sentence=_(
            "How far the stars of their reviews of a year are from what the words say (0 to 2): %(value)s"
        ),
        expression=share(total("contradictions", 365), total("compared", 365) * SENTIMENT_POINTS),
    ),
    *(
        Feature(
            name=f"topic_{number}_share_365d",
            unit="share",
            window_days=365,
            label=_lazy_label(number),
            sentence=_lazy_sentence(number),
            expression=share(total(f"topic_{number}", 365), total("texts_read", 365)),
        )
        for number in TOPIC_NUMBERS
    ),
)
