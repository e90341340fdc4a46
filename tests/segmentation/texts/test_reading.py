"""A text is read once, by a model that knows nothing later, and what was read becomes features of the customer."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from polars.testing import assert_frame_equal

from segmentation import identities, targets, text_models, texts, training, training_runs
from segmentation.alone import only
from segmentation.features import context, store
from segmentation.features.compute import compute
from segmentation.jobs import Job
from segmentation.kinds import EventKind
from segmentation.ml import encoders
from segmentation.models import Customer, DueCustomer, Event, EventText, TextModel
from tests.segmentation.learning.conftest import QUICK
from tests.segmentation.texts.conftest import TODAY, history, read_everything, review

pytestmark = pytest.mark.django_db
LIVE = 160.0  # days after START: the source tells live since day 152


def features(*references: str, as_of: date = TODAY, shop) -> pl.DataFrame:
    ids = sorted(Customer.objects.filter(reference__in=references).values_list("pk", flat=True))
    events = store.read_events(ids, as_of=as_of, shop=shop)
    people = store.read_customers(ids, as_of=as_of, shop=shop)
    return compute(events, as_of, context.ContextData(as_of=as_of), customers=people)


def days_of(count: int, *, first: int = 0, each: int = 1) -> np.ndarray:
    return first + np.arange(count) * each


def test_the_first_model_is_of_the_day_after_there_were_enough_of_both():
    days, ratings = days_of(100), np.where(np.arange(100) % 2, 5.0, 1.0)
    found = text_models.next_date(days, ratings, [], today=date(1971, 1, 1))
    # The 40th bad rating is on day 78, the 40th good one on day 79.
    assert found == date(1970, 1, 1) + timedelta(days=80)
    assert text_models.next_date(days[:70], ratings[:70], [], today=date(1971, 1, 1)) is None


def test_the_next_ones_follow_every_90_days_on_which_enough_was_said():
    days, ratings = days_of(130), np.where(np.arange(130) % 2, 5.0, 1.0)
    known = [(date(1970, 1, 1) + timedelta(days=80), True)]
    today = date(1970, 12, 31)
    assert text_models.next_date(days, ratings, known, today=today) == known[0][0] + timedelta(days=90)
    assert text_models.next_date(days, ratings, known, today=known[0][0] + timedelta(days=89)) is None
    quiet = days[:95], ratings[:95]
    assert text_models.next_date(*quiet, known, today=today) is None


def test_history_that_came_in_later_gets_the_model_it_lacked():
    days, ratings = days_of(400), np.where(np.arange(400) % 2, 5.0, 1.0)
    known = [(date(1970, 1, 1) + timedelta(days=300), True)]
    assert text_models.next_date(days, ratings, known, today=date(1971, 6, 1)) == date(1970, 3, 22)


def test_texts_are_read_by_the_model_before_them_and_earlier_ones_by_none(
    say, shop, nudges, django_capture_on_commit_callbacks
):
    with django_capture_on_commit_callbacks(execute=True):
        say(*history())
    assert Job.READ_TEXTS in [job for job, _ids in nudges]
    read_everything()
    model = TextModel.objects.get()
    assert not EventText.objects.filter(read_at=None).exists()
    for row in EventText.objects.select_related("event"):
        is_later = row.event.occurred_at.date() >= model.as_of
        assert (row.text_model_id == model.pk) == is_later
        assert (row.sentiment is not None) == is_later
        if is_later:
            assert (row.sentiment > 0) == (row.event.rating > 3)
    assert EventText.objects.exclude(sentiment=None).count() > 10


def test_a_live_review_is_read_and_its_customer_scored_again(say, shop):
    say(*history())
    read_everything()
    DueCustomer.objects.all().delete()
    say(review("new", LIVE, "Terrible quality, broken and useless", 5.0, customer="Cx"))
    DueCustomer.objects.all().delete()
    before = Customer.objects.get(reference="Cx").input_version
    read_everything()
    assert DueCustomer.objects.get().customer.reference == "Cx"
    assert DueCustomer.objects.get().cause == "text"
    assert Customer.objects.get(reference="Cx").input_version > before
    found = features("Cx", shop=shop).row(0, named=True)
    assert found["sentiment_mean_90d"] < -0.25
    assert found["sentiment_last"] == found["sentiment_mean_365d"] == found["sentiment_mean_90d"]
    assert (found["negative_texts_90d"], found["negative_texts_share_365d"]) == (1, 1)
    # Five stars and an angry text: what a malicious or careless review looks like.
    assert found["rating_against_text_365d"] > 1.2


def test_reading_twice_changes_nothing(say, shop):
    say(*history())
    read_everything()
    fields = ("pk", "sentiment", "topic", "repeats", "text_model", "read_at")
    before = list(EventText.objects.order_by("pk").values_list(*fields))
    read_everything()
    assert list(EventText.objects.order_by("pk").values_list(*fields)) == before


def test_whoever_finds_the_reading_taken_leaves_it_and_who_is_at_it_looks_again(say, shop, monkeypatch):
    say(*history())
    with only(texts.ALONE):
        assert texts.work() is False
    assert not TextModel.objects.exists()
    reading = texts.read_some

    def told_meanwhile(shop):
        found = reading(shop)
        if found is None and not EventText.objects.filter(event__source_key="late").exists():
            say(review("late", LIVE, "lovely", customer="Cl"))
        return found

    monkeypatch.setattr(texts, "read_some", told_meanwhile)
    assert texts.work() is True
    assert texts.work() is False
    assert not EventText.objects.filter(read_at=None).exists()


def test_who_needs_what_was_said_reads_it_first_or_waits_for_whoever_is_at_it(say, shop, monkeypatch):
    say(*history())
    watched: list[int] = []
    monkeypatch.setattr(texts, "LOOK_AGAIN", 0.01)
    with only(texts.ALONE):
        texts.finish(lambda: watched.append(1), seconds=0.1)
    assert len(watched) > 1
    assert not TextModel.objects.exists()
    texts.finish(lambda: watched.append(1))
    assert not EventText.objects.filter(read_at=None).exists()


def test_a_training_first_reads_what_customers_wrote(say, shop, monkeypatch):
    say(*history())
    left: list[int] = []
    monkeypatch.setattr(training_runs, "require_enough_data", lambda *_args, **_kwargs: None)
    monkeypatch.setattr(
        training, "_train_family", lambda *_args, **_kwargs: left.append(_unread()) or {"version": 1}
    )
    run = training_runs.request(targets.install(), preset="fast", config=QUICK)
    assert _unread() == 130
    training.run(training_runs.claim(run.pk))
    assert set(left) == {0}


def _unread() -> int:
    return EventText.objects.filter(read_at=None).count()


def test_a_reading_that_may_be_stopped_goes_on_where_it_was(say, shop):
    class Cancelled(Exception):
        pass

    def stop() -> None:
        raise Cancelled

    say(*history())
    with pytest.raises(Cancelled):
        texts.finish(stop)
    assert TextModel.objects.count() == 1
    texts.finish(lambda: None)
    assert not EventText.objects.filter(read_at=None).exists()


def test_later_texts_change_no_reading_and_no_feature_of_an_earlier_day(say, shop):
    say(*history())
    read_everything()
    day = date(2024, 4, 10)
    people = [f"Cr{n}" for n in range(82, 99)]
    before = features(*people, as_of=day, shop=shop)
    assert before["sentiment_mean_90d"].is_not_null().any()
    say(*history(60, first=110, days=50, key="later"))
    TextModel.objects.filter(as_of__gt=day).delete()
    EventText.objects.update(read_at=None)
    read_everything()
    assert features(*people, as_of=day, shop=shop).equals(before)


def test_batch_and_single_customers_see_the_same_to_the_last_bit(say, shop):
    say(*history())
    read_everything()
    people = [f"Cr{n}" for n in range(90, 130)]
    whole = features(*people, shop=shop)
    alone = pl.concat([features(one, shop=shop) for one in people])
    assert_frame_equal(alone.sort("customer_id"), whole.sort("customer_id"), check_exact=True)
    assert whole["negative_texts_365d"].sum() > 0


def test_the_very_same_words_of_somebody_else_are_counted(say, shop):
    say(*history())
    say(
        review("a", LIVE, "Best shop ever, buy your lamps here", customer="Ca"),
        review("b", LIVE + 1, "best shop  ever, buy your LAMPS here", customer="Cb"),
        review("c", LIVE + 2, "Best shop ever, buy your lamps here", customer="Cb"),
        review("d", LIVE + 3, "Great!", customer="Ca"),
        review("e", LIVE + 4, "Great!", customer="Cb"),
    )
    read_everything()
    rows = EventText.objects.filter(event__source_key__in="abcde").order_by("event__source_key")
    assert list(rows.values_list("repeats", flat=True)) == [0, 1, 2, 0, 0]
    assert features("Ca", "Cb", shop=shop)["repeated_texts_365d"].to_list() == [0, 2]


def test_words_said_ever_so_often_are_counted_to_a_bound_and_no_more_of_them_are_read(say, shop, monkeypatch):
    monkeypatch.setattr(texts, "MOST_REPEATS", 3)
    say(*history())
    spam = [
        review(f"s{n}", LIVE + 1 + n, "Best shop ever, buy your lamps here", customer=f"C{n}")
        for n in range(9)
    ]
    say(*spam[:6])
    read_everything()
    say(*spam[6:], review("first", LIVE, "Best shop ever, buy your lamps here", customer="Cf"))
    with CaptureQueriesContext(connection) as asked:
        read_everything()
    assert any('"repeats" < 3' in query["sql"] for query in asked.captured_queries)
    rows = EventText.objects.filter(event__source_key__in=["first", *(f"s{n}" for n in range(9))])
    told = rows.order_by("event__occurred_at").values_list("repeats", flat=True)
    assert list(told) == [0, 1, 2, 3, 3, 3, 3, 3, 3, 3]


def test_what_is_read_out_of_order_is_counted_in_the_order_it_was_said(say, shop):
    say(*history(), review("b", LIVE + 1, "Best shop ever, buy your lamps here", customer="Cb"))
    read_everything()
    before = Customer.objects.get(reference="Cb").input_version
    say(
        review("c", LIVE + 2, "Best shop ever, buy your lamps here", customer="Cc"),
        review("a", LIVE, "Best shop ever, buy your lamps here", customer="Ca"),
    )
    read_everything()
    rows = EventText.objects.filter(event__source_key__in="abc").order_by("event__source_key")
    assert list(rows.values_list("repeats", flat=True)) == [0, 1, 2]
    assert Customer.objects.get(reference="Cb").input_version > before
    for name, times in (("Ca", 0), ("Cb", 1), ("Cc", 1)):
        assert features(name, shop=shop)["repeated_texts_365d"].to_list() == [times], name


def test_what_one_person_says_from_several_accounts_is_not_kept(say, shop):
    say(*history(), *(review(f"f{n}", 1, "I am zwetschgenbaum", customer=f"Cf{n}") for n in range(3)))
    first, *others = Customer.objects.filter(reference__startswith="Cf").order_by("pk")
    for other in others:
        identities.merge(first, other)
    read_everything()
    assert b"zwetschgenbaum" not in bytes(TextModel.objects.get().content)


def test_tickets_are_read_too_and_without_models_nothing_is(say, shop):
    say(review("t", LIVE, "broken and useless", kind=EventKind.TICKET_OPENED, customer="Ct"))
    assert texts.work() is False
    assert EventText.objects.get().read_at is None
    say(*history())
    read_everything()
    assert EventText.objects.get(event__source_key="t").sentiment < 0
    assert features("Ct", shop=shop)["negative_texts_90d"].to_list() == [1]


def test_who_may_not_be_profiled_is_not_read(say, shop):
    say(*history(), review("n", LIVE, "broken and useless", customer="Cn"))
    Customer.objects.filter(reference="Cn").update(is_profiled=False)
    read_everything()
    assert EventText.objects.get(event__source_key="n").read_at is None
    assert texts.waiting().texts == 0


def test_a_survivor_has_the_sentiment_of_the_merged(say, shop):
    say(
        *history(),
        review("a", LIVE, "lovely and excellent", customer="Ca"),
        review("b", LIVE, "fine", customer="Cb"),
    )
    read_everything()
    first, second = Customer.objects.get(reference="Cb"), Customer.objects.get(reference="Ca")
    identities.merge(first, second)
    own = EventText.objects.filter(event__source_key__in="ab").values_list("sentiment", flat=True)
    wanted = np.mean([round(100 * sentiment) for sentiment in own]) / 100
    assert features("Cb", shop=shop)["sentiment_mean_90d"].to_list() == [pytest.approx(wanted)]


def test_a_model_whose_bytes_were_changed_reads_nothing(say, shop):
    say(*history())
    read_everything()
    row = TextModel.objects.get()
    TextModel.objects.update(content=bytes(row.content)[:-1] + b"x", sha256="0" * 64)
    say(review("late", LIVE, "lovely", customer="Cl"))
    with pytest.raises(text_models.ArtifactError, match="not those that were stored"):
        texts.work()
    assert EventText.objects.get(event__source_key="late").read_at is None


class _Encoder:
    """Stands for the frozen network: a vector by the length of the text, and a count of what it was asked."""

    def __init__(self, monkeypatch):
        self.asked: list[str] = []
        monkeypatch.setattr(encoders, "name", lambda wanted: "small:1" if wanted else "")
        monkeypatch.setattr(encoders, "encode", self.encode)

    def encode(self, said, _wanted):
        self.asked += said
        return np.array([[len(text) / 100, 1.0] for text in said], dtype=np.float16)


def test_each_distinct_text_is_encoded_once(say, shop, settings, monkeypatch):
    settings.TEXT_ENCODER = "/models/small"
    encoder = _Encoder(monkeypatch)
    say(*history())
    read_everything()
    say(
        review("x", LIVE, history()[0].text, customer="Cx"), review("y", LIVE, "something new", customer="Cy")
    )
    read_everything()
    assert TextModel.objects.get().encoder == "small:1"
    assert len(encoder.asked) == len(set(encoder.asked))
    assert EventText.objects.get(event__source_key="x").sentiment is not None
    assert texts.waiting() == texts.Waiting(0, "")


def test_without_the_encoder_of_the_model_texts_wait_and_the_page_can_say_so(
    say, shop, settings, monkeypatch
):
    settings.TEXT_ENCODER = "/models/small"
    with monkeypatch.context() as patch:
        _Encoder(patch)
        say(*history())
        read_everything()
    settings.TEXT_ENCODER = ""
    say(review("x", LIVE, "lovely", customer="Cx"))
    assert texts.work() is False
    assert texts.waiting() == texts.Waiting(1, "small:1")


def test_a_newer_version_of_a_review_is_read_instead_of_the_older(say, shop):
    say(*history(), review("v", LIVE, "lovely and excellent", customer="Cv"))
    say(review("v", LIVE, "broken and useless", customer="Cv", source_version=2))
    read_everything()
    assert Event.objects.filter(source_key="v").count() == 2
    assert features("Cv", shop=shop)["negative_texts_90d"].to_list() == [1]
