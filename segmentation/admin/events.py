"""Products, and files brought in: upload, look at the first lines, import."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import FileResponse, Http404, HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.shortcuts import get_object_or_404
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _

from segmentation import imports, stored_files
from segmentation.admin.base import ReadOnlyAdmin, View, WorkAdmin, post_only, requires
from segmentation.admin.upload_form import UploadForm
from segmentation.dashboard import progress, words
from segmentation.imports import uploads
from segmentation.models import AuditEntry, Category, ImportRun, Product


@admin.register(Product)
class ProductAdmin(ReadOnlyAdmin):
    list_display = ("external_id", "name", "category", "first_seen_at")
    list_select_related = ("category",)
    search_fields = ("external_id", "name")
    search_help_text = _("A product id, or the beginning of a name as it is written")
    ordering = ("-id",)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet, search_term: str
    ) -> tuple[QuerySet, bool]:
        """By id, else by name: each is answered by its index, both at once would not be."""
        term = search_term.strip()
        if not term:
            return queryset, False
        by_id = queryset.filter(external_id=term)
        return (by_id if by_id.exists() else queryset.filter(name__startswith=term)), False


@admin.register(Category)
class CategoryAdmin(ReadOnlyAdmin):
    list_display = ("name", "number")
    ordering = ("name",)


@admin.register(ImportRun)
class ImportRunAdmin(WorkAdmin):
    list_display = (
        "number",
        "file_name",
        "kind",
        "state_badge",
        "read",
        "kept",
        "rejected",
        "events",
        "created_at",
    )
    list_display_links = ("number", "file_name")
    list_before_template = "tierwise/import_button.html"
    ordering = ("-id",)

    def extra_urls(self) -> list[tuple[str, View, str]]:
        return [
            ("upload/", self.upload_view, "upload"),
            ("upload/<str:token>/", self.confirm_view, "confirm"),
            ("<int:pk>/progress/", self.progress_view, "progress"),
            ("<int:pk>/cancel/", self.cancel_view, "cancel"),
            ("<int:pk>/rejects/", self.rejects_view, "rejects"),
        ]

    # --- columns
    @admin.display(description=_("import"), ordering="id")
    def number(self, run: ImportRun) -> str:
        return f"#{run.pk}"

    @admin.display(description=_("lines read"))
    def read(self, run: ImportRun) -> str:
        return words.number(run.rows_read)

    @admin.display(description=_("lines kept"))
    def kept(self, run: ImportRun) -> str:
        return words.number(run.rows_imported)

    @admin.display(description=_("lines rejected"))
    def rejected(self, run: ImportRun) -> str:
        return words.number(run.rows_rejected)

    @admin.display(description=_("events"))
    def events(self, run: ImportRun) -> str:
        return words.number(run.events_created)

    # --- bringing a file in
    def upload_view(self, request: HttpRequest) -> HttpResponse:
        """Keep the file and lead on to its preview."""
        requires(request, "segmentation.add_importrun")
        form = UploadForm(request.POST or None, request.FILES or None)
        if request.method == "POST" and form.is_valid():
            token = uploads.keep(form.cleaned_data["file"], form.cleaned_data)
            return HttpResponseRedirect(self.url("confirm", token))
        return self.page(request, "tierwise/upload.html", title=_t("Import a file"), form=form)

    def confirm_view(self, request: HttpRequest, token: str) -> HttpResponse:
        """The first lines as they would be imported; POST queues the import for a worker."""
        requires(request, "segmentation.add_importrun")
        try:
            asked = uploads.opened(token)
        except uploads.UploadGone as error:
            self.refuse(request, error)
            return HttpResponseRedirect(self.url("upload"))
        try:
            if request.method == "POST":
                run = imports.request_run(
                    asked, requested_by=request.user, inside=partial(_audited, request.user)
                )
                return self.back_to(run)
            preview = imports.preview(asked)
        except imports.ImportProblem as error:
            uploads.discard(token)
            messages.error(request, str(error))
            return HttpResponseRedirect(self.url("upload"))
        return self.page(
            request,
            "tierwise/upload_preview.html",
            title=_t("Import %(file)s?") % {"file": asked.path.name},
            preview=preview,
        )

    # --- the page of one import
    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        requires(request, "segmentation.view_importrun")
        run = get_object_or_404(ImportRun.objects.select_related("requested_by"), pk=object_id)
        return self.page(
            request,
            "tierwise/import_run.html",
            title=_t("Import #%(run)s") % {"run": run.pk},
            object=run,
            run=run,
            live=progress.importing(run),
            has_rejects=_rejects_of(run) is not None,
            may_cancel=request.user.has_perm("segmentation.add_importrun") and not run.is_over,
        )

    def progress_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        requires(request, "segmentation.view_importrun")
        return JsonResponse(progress.importing(get_object_or_404(ImportRun, pk=pk)))

    @post_only("segmentation.add_importrun")
    def cancel_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        run = get_object_or_404(ImportRun, pk=pk)
        if imports.request_cancel(run, by=request.user):
            messages.info(request, _t("The run was asked to stop."))
        else:
            messages.info(request, _t("The run is over already."))
        return self.back_to(run)

    def rejects_view(self, request: HttpRequest, pk: int) -> FileResponse:
        """The rejected lines hold what the file held, so only who may import sees them."""
        requires(request, "segmentation.add_importrun")
        path = _rejects_of(get_object_or_404(ImportRun, pk=pk))
        if path is None:
            raise Http404
        return FileResponse(path.open("rb"), as_attachment=True, filename=path.name)


def _audited(user: Any, run: ImportRun) -> None:
    AuditEntry.record("import.request", run, actor=user, file=run.file_name)


def _rejects_of(run: ImportRun) -> Path | None:
    path = stored_files.located(run.rejects_file) if run.rejects_file else None
    return path if path is not None and path.is_file() else None
