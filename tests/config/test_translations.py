"""Staff read the product in their own language: catalogues are whole, compiled and safe to fill in."""

from __future__ import annotations

import pytest
from django.urls import reverse
from django.utils.translation import gettext, ngettext, override, pgettext

from tests.support import catalogues

CHINESE = catalogues.LOCALE / "zh_Hans" / "LC_MESSAGES" / "django.po"
LEAST_TRANSLATED = 0.95


@pytest.fixture(scope="module")
def chinese() -> list[catalogues.Message]:
    return catalogues.read(CHINESE)


def test_nearly_every_sentence_is_translated_into_chinese(chinese):
    missing = [message.source for message in chinese if not message.is_translated]
    assert len(chinese) > 1000
    assert len(missing) <= (1 - LEAST_TRANSLATED) * len(chinese), missing[:20]


def test_every_translation_keeps_the_placeholders_of_its_sentence(chinese):
    assert not {m.source: wrong for m in chinese if m.is_translated and (wrong := m.differing_placeholders())}


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("%(share)s von %(total)s", []),
        ("%(total)s: %(share)s", []),
        ("%(share)s", ["%(total)s"]),
        ("%(share)s %(total)s %(other)s", ["%(other)s"]),
        ("%(share)s %(total)d", ["%(total)d", "%(total)s"]),
    ],
)
def test_a_lost_or_changed_placeholder_is_found(text, wrong):
    message = catalogues.Message(source="%(share)s of %(total)s", texts={0: text})
    assert message.differing_placeholders() == wrong


@pytest.mark.parametrize("path", catalogues.sources(), ids=lambda path: path.parts[-3])
def test_what_is_loaded_is_what_was_written(path):
    assert catalogues.is_compiled(path), (
        f"{path.stem}.mo is old: run python -m tests.support.messages --write"
    )


def test_a_guess_taken_from_a_similar_sentence_does_not_count_as_translated(tmp_path):
    path = tmp_path / "django.po"
    path.write_text(
        '#, fuzzy, python-format\nmsgid "%(count)s days"\nmsgstr "%(count)s 天"\n\nmsgid "one"\nmsgstr "一"\n'
    )
    assert [message.is_translated for message in catalogues.read(path)] == [False, True]


def test_both_languages_hold_the_same_sentences(chinese):
    english = catalogues.read(catalogues.LOCALE / "en" / "LC_MESSAGES" / "django.po")
    assert {(m.context, m.source) for m in english} == {(m.context, m.source) for m in chinese}


def test_a_language_code_finds_its_catalogue_plurals_and_contexts_too():
    with override("zh-hans"):
        assert gettext("Chance to stop buying") == "流失概率"
        assert ngettext("%(number)s day", "%(number)s days", 2) % {"number": 2} == "2 天"
        assert (pgettext("place in a list", "order"), gettext("order")) == ("顺序", "订单")
    with override("en"):
        assert gettext("Chance to stop buying") == "Chance to stop buying"


@pytest.mark.parametrize(
    ("asked", "sentence", "other"),
    [
        ("zh-hans", "一份历史订单文件即可", "A file of past orders is enough"),
        ("en", "A file of past orders is enough", "一份历史订单文件即可"),
    ],
)
def test_the_home_page_speaks_the_language_the_browser_asks_for(admin_client, shop, asked, sentence, other):
    page = admin_client.get(reverse("admin:index"), headers={"accept-language": asked}).content.decode()
    assert sentence in page
    assert other not in page
