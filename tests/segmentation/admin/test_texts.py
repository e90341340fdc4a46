"""The page of what reads reviews and tickets, and what a customer's page says of words and of attention."""

from __future__ import annotations

import pytest
from django.urls import reverse

from segmentation import contacts, crypto
from segmentation.kinds import EventKind
from segmentation.ml import encoders
from segmentation.models import EventText, Score, Target, TextModel
from tests.segmentation.admin import world
from tests.segmentation.admin.world import page as page_of

PAGE = "admin:segmentation_textmodel_changelist"
TOPICS = [
    {"number": 1, "words": ["parcel", "courier"], "texts": 40, "likeness": 0.93},
    {"number": 2, "words": ["teapot", "lid"], "texts": 9, "likeness": None},
]
ABOUT = {
    "texts": 180, "good": 90, "bad": 60, "sentiment": True, "topics": TOPICS,
    "test": {"texts": 30, "auc": 0.912, "balanced_accuracy": 0.85},
}  # fmt: skip


@pytest.fixture
def text_model(db):
    return TextModel.objects.create(as_of="2024-03-01", about=ABOUT, content=b"", sha256="0" * 64)


def page(client, name=PAGE) -> str:
    answer = client.get(reverse(name))
    assert answer.status_code == 200
    return answer.content.decode()


def test_without_a_model_the_page_says_what_is_needed_and_that_words_alone_are_read(admin_client):
    said = page(admin_client)
    assert "Words and letters alone (TF-IDF)" in said
    assert "requirements-text.txt" in said
    assert "40 good and 40 bad ratings" in said
    assert "No product has a picture" in said


def test_the_page_shows_how_well_it_tells_and_what_texts_are_about(admin_client, text_model):
    said = page(admin_client)
    for words in ("180", "91.2", "85.0", "parcel, courier", "93", "teapot, lid", "0.912"):
        assert words in said


def test_an_encoder_that_is_not_there_is_said_and_not_an_error(
    admin_client, settings, monkeypatch, text_model
):
    settings.TEXT_ENCODER = "/models/gone"
    monkeypatch.setattr(encoders, "find_spec", lambda _name: object())
    assert "/models/gone is no folder" in page(admin_client)
    TextModel.objects.update(encoder="MiniLM:abc")
    assert "needs the encoder MiniLM:abc" in page(admin_client)


def test_analysts_see_the_page_and_service_does_not(client, text_model):
    for role, status in (("Analyst", 200), ("Service agent", 403)):
        client.force_login(world.person(role))
        assert client.get(reverse(PAGE)).status_code == status


def test_topics_are_called_by_their_words_wherever_features_are_named(admin_client, text_model):
    said = page(admin_client, "admin:segmentation_featureportrait_changelist")
    assert "Texts about “parcel, courier”" in said
    assert "Texts about topic 3" in said


def test_a_text_on_a_customers_page_says_how_it_sounds(client):
    eva = world.customer("C-7")
    event = world.order(eva, kind=EventKind.REVIEWED, amount_minor=0)
    key = contacts.data_keys([eva.pk])[eva.pk]
    EventText.objects.create(event=event, sealed=crypto.seal(key, b"It fell apart"))
    client.force_login(world.person("Service agent"))
    address = page_of("customer_change", eva.pk)
    assert "Sounds" not in client.get(address).content.decode()
    EventText.objects.update(sentiment=-0.8)
    assert "Sounds unhappy" in client.get(address).content.decode()
    # Whoever may not read the words is not told of their tone either.
    client.force_login(world.person("Analyst"))
    assert "Sounds" not in client.get(address).content.decode()


def test_attention_is_shown_beside_the_reasons_and_not_called_one(admin_client):
    eva = world.customer("C-8")
    Score.objects.create(
        customer=eva, target=Target.objects.get(slug="churn"), version=world.version(9), as_of=world.AS_OF, value=0.4,
        reasons={
            "members": [], "shares": [], "usual_gap_days": None,
            "looked_at": [[int(EventKind.ORDER_PLACED), 3, 20.0, 0.62], [int(EventKind.VIEWED), 9, 0.0, 0.2]],
        },
    )  # fmt: skip
    said = admin_client.get(page_of("customer_change", eva.pk)).content.decode()
    assert "What the model looked at" in said
    assert "62 % of its attention" in said
    assert "This is not a reason" in said
    assert "Ordered on May 30, 2024: 20.00" in said
    assert "Looked at on May 24, 2024" in said
