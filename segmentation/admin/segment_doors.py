"""Pages and buttons around segments: templates, lists by hand, versions to restore, who was in, moves between tiers."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

from django import forms
from django.contrib import messages
from django.db import IntegrityError, transaction
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext
from unfold.widgets import UnfoldAdminTextareaWidget, UnfoldAdminTextInputWidget

from segmentation import segment_lists, segment_templates, segments
from segmentation.admin.base import View, post_only, requires
from segmentation.dashboard import members_page, migration_page, segment_page
from segmentation.models import Segment
from segmentation.rules.language import RuleError

# A pasted list or a file of a hundred thousand numbers is far below this.
MOST_BYTES = 5_000_000


class NewListForm(forms.Form):
    name = forms.CharField(label=_("name"), max_length=100, widget=UnfoldAdminTextInputWidget)
    slug = forms.SlugField(label=_("short name"), max_length=50, widget=UnfoldAdminTextInputWidget)
    numbers = forms.CharField(
        label=_("Customer numbers"),
        required=False,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 8}),
        help_text=_("One a line. More can be added later, also from a file."),
    )


class SegmentDoors:
    """Mixed into the segments' admin."""

    def segment_urls(self) -> list[tuple[str, View, str]]:
        return [
            ("templates/", self.templates_view, "templates"),
            ("templates/<slug:slug>/", self.use_template_view, "use_template"),
            ("new-list/", self.new_list_view, "new_list"),
            ("migration/", self.migration_view, "migration"),
            ("<int:pk>/restore/<int:number>/", self.restore_view, "restore"),
            ("<int:pk>/by-hand/", self.by_hand_view, "by_hand"),
            ("<int:pk>/members/", self.members_view, "members"),
        ]

    # --- templates
    def templates_view(self: Any, request: HttpRequest) -> HttpResponse:
        requires(request, "segmentation.view_segment")
        read = segment_page.reader()
        there = dict(Segment.objects.values_list("slug", "pk"))
        families = [
            (family, [(one, read(one.rule), there.get(one.slug)) for one in family.templates])
            for family in segment_templates.FAMILIES
        ]
        return self.page(
            request, "tierwise/segment_templates.html", title=_("Segments from templates"), families=families
        )

    @post_only("segmentation.add_segment")
    def use_template_view(self: Any, request: HttpRequest, slug: str) -> HttpResponse:
        template = segment_templates.find(slug)
        if template is None:
            messages.error(request, _t("There is no such template."))
            return HttpResponseRedirect(self.url("templates"))
        try:
            segment = segment_templates.create(template, by=request.user)
        except RuleError as error:
            messages.error(
                request, _t("The template does not fit this shop: %(error)s") % {"error": error.message}
            )
            return HttpResponseRedirect(self.url("templates"))
        messages.success(
            request, _t("“%(name)s” is a segment now; change it as you like.") % {"name": segment.name}
        )
        return self.back_to(segment)

    # --- lists kept by hand
    def new_list_view(self: Any, request: HttpRequest) -> HttpResponse:
        requires(request, "segmentation.add_segment")
        form = NewListForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            made = self._new_list(request, form)
            if made is not None:
                return self.back_to(made)
        return self.page(request, "tierwise/segment_new_list.html", title=_("New list"), form=form)

    def _new_list(self: Any, request: HttpRequest, form: NewListForm) -> Segment | None:
        given = form.cleaned_data
        try:
            with transaction.atomic():
                made = segment_lists.create(given["name"], slug=given["slug"], by=request.user)
        except IntegrityError:
            form.add_error("slug", _t("There is a segment with this short name already."))
            return None
        if given["numbers"].strip():
            self._tell(request, segment_lists.put_text(made, given["numbers"], by=request.user))
        return made

    @post_only("segmentation.change_segment")
    def by_hand_view(self: Any, request: HttpRequest, pk: int) -> HttpResponse:
        """Put in, take out, or leave to the rule again."""
        segment = get_object_or_404(Segment, pk=pk)
        upload = request.FILES.get("file")
        if upload is not None and (upload.size or 0) > MOST_BYTES:
            messages.error(request, _t("The file is too large: at most 5 MB of customer numbers."))
            return self.back_to(segment)
        text = (
            upload.read().decode("utf-8", "replace")
            if upload is not None
            else request.POST.get("numbers", "")
        )
        what = request.POST.get("what")
        if not text.strip() or what not in ("in", "out", "forget"):
            messages.error(request, _t("Give customer numbers, one a line, or a file of them."))
        elif what == "forget":
            gone = segment_lists.forget_text(segment, text, by=request.user)
            said = ngettext("%(count)d entry by hand is gone.", "%(count)d entries by hand are gone.", gone)
            messages.success(request, said % {"count": gone})
        else:
            self._tell(
                request, segment_lists.put_text(segment, text, is_member=what == "in", by=request.user)
            )
        return self.back_to(segment)

    def _tell(self, request: HttpRequest, report: segment_lists.PutReport) -> None:
        known = ngettext("%(count)d customer noted.", "%(count)d customers noted.", report.known)
        messages.success(request, known % {"count": report.known})
        if report.missing:
            unknown = ngettext(
                "%(count)d number belongs to no customer: %(numbers)s",
                "%(count)d numbers belong to no customer: %(numbers)s",
                report.missing,
            )
            given = {"count": report.missing, "numbers": ", ".join(report.unknown)}
            messages.warning(request, unknown % given)

    # --- versions
    @post_only("segmentation.change_segment")
    def restore_view(self: Any, request: HttpRequest, pk: int, number: int) -> HttpResponse:
        segment = get_object_or_404(Segment, pk=pk)
        if not segment.versions.filter(number=number).exists():
            messages.error(request, _t("There is no version %(number)d.") % {"number": number})
            return self.back_to(segment)
        try:
            version = segments.restore(segment, number, by=request.user)
        except RuleError as error:
            messages.error(
                request,
                _t("Version %(number)d cannot be restored: %(error)s") % {"number": number, "error": error},
            )
        else:
            messages.success(
                request,
                _t("Version %(old)d is restored as version %(new)d.")
                % {"old": number, "new": version.number},
            )
        return self.back_to(segment)

    # --- time
    def members_view(self: Any, request: HttpRequest, pk: int) -> HttpResponse:
        requires(request, "segmentation.view_membership")
        segment = get_object_or_404(Segment, pk=pk)
        return self.page(
            request,
            "tierwise/segment_members.html",
            title=segment.name,
            segment=segment,
            view=members_page.build(segment, day_of(request, "on")),
        )

    def migration_view(self: Any, request: HttpRequest) -> HttpResponse:
        requires(request, "segmentation.view_score")
        view = migration_page.build(day_of(request, "first"), day_of(request, "last"))
        return self.page(request, "tierwise/migration.html", title=_("Moves between tiers"), view=view)


def day_of(request: HttpRequest, name: str) -> date | None:
    """A day of the address, None when there is none or it is no day (of the years a database knows)."""
    try:
        day = date.fromisoformat(request.GET.get(name, ""))
    except ValueError:
        return None
    return day if date(1970, 1, 1) <= day <= date(2199, 1, 1) - timedelta(days=2) else None
