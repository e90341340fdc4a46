"""Long work: trainings, classifications, imports."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.db.models import QuerySet, Sum
from django.utils.translation import gettext as _
from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from crm_integration.api.base import ListResource, Resource, one
from crm_integration.api.idempotency import (
    Settle,
    idempotent,
    idempotent_by_itself,
    idempotent_where_settled,
    unsettled,
)
from crm_integration.api.parsers import FileParser
from crm_integration.api.problems import Conflict, Unprocessable
from crm_integration.api.queries import Query
from crm_integration.api.serializers.jobs import (
    ClassificationSerializer,
    ImportSerializer,
    NewClassificationSerializer,
    NewImportSerializer,
    NewTrainingSerializer,
    TrainingSerializer,
)
from crm_integration.models import Scope
from segmentation import imports, scoring_runs, training_runs
from segmentation.imports import uploads
from segmentation.models import (
    AuditEntry,
    ImportRun,
    ScoringRun,
    Target,
    TrainingRun,
)

TRAININGS = TrainingRun.objects.prefetch_related("targets", "versions")
CLASSIFICATIONS = ScoringRun.objects.annotate(scored=Sum("shards__scored"))


class TrainingsView(ListResource):
    scopes = {"GET": Scope.JOBS_READ, "POST": Scope.JOBS_RUN}
    serializer = TrainingSerializer
    ordering = ("-id",)

    @extend_schema(operation_id="trainings_list", parameters=[Query], responses=TrainingSerializer(many=True))
    def get(self, request: Request) -> Response:
        """Trainings, the newest first."""
        return self.page(request)

    @extend_schema(
        operation_id="trainings_start", request=NewTrainingSerializer, responses={202: TrainingSerializer}
    )
    @idempotent
    def post(self, request: Request) -> Response:
        """Ask a worker to learn these targets anew. 409 while one of them is being learned; 422 with too little data."""
        asked = NewTrainingSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        wanted = asked.validated_data
        try:
            run = training_runs.request(
                _targets(wanted["targets"]), preset=wanted["preset"], seed=wanted["seed"]
            )
        except training_runs.AlreadyTraining as problem:
            raise Conflict(str(problem)) from problem
        except training_runs.TrainingError as problem:
            raise Unprocessable(str(problem)) from problem
        AuditEntry.record("api.training_started", run, token=self.token.prefix)
        return Response(TrainingSerializer(one(TRAININGS, pk=run.pk)).data, status=status.HTTP_202_ACCEPTED)

    def rows(self, wanted: Mapping[str, Any]) -> QuerySet[TrainingRun]:
        return TRAININGS.all()


def _targets(slugs: list[str]) -> list[Target]:
    found = {target.slug: target for target in Target.objects.filter(slug__in=slugs, is_active=True)}
    if unknown := sorted(set(slugs) - set(found)):
        raise ValidationError({"targets": _("No such target: %(names)s.") % {"names": ", ".join(unknown)}})
    return [found[slug] for slug in dict.fromkeys(slugs)]


class TrainingView(Resource):
    scopes = {"GET": Scope.JOBS_READ}

    @extend_schema(operation_id="trainings_read", responses=TrainingSerializer)
    def get(self, request: Request, pk: int) -> Response:
        """State and progress of a training."""
        return Response(TrainingSerializer(one(TRAININGS, pk=pk)).data)


class CancelTrainingView(Resource):
    scopes = {"POST": Scope.JOBS_RUN}

    @extend_schema(operation_id="trainings_cancel", request=None, responses=TrainingSerializer)
    @idempotent
    def post(self, request: Request, pk: int) -> Response:
        """Stop a training that waits, or ask one that runs to stop. 409 when it is over."""
        run = one(TrainingRun.objects.all(), pk=pk)
        if not training_runs.request_cancel(run):
            raise Conflict(_("It is over already."))
        AuditEntry.record("api.training_cancelled", run, token=self.token.prefix)
        return Response(TrainingSerializer(one(TRAININGS, pk=pk)).data)


class ClassificationsView(ListResource):
    scopes = {"GET": Scope.JOBS_READ, "POST": Scope.JOBS_RUN}
    serializer = ClassificationSerializer
    ordering = ("-id",)

    @extend_schema(
        operation_id="classifications_list", parameters=[Query], responses=ClassificationSerializer(many=True)
    )
    def get(self, request: Request) -> Response:
        """Classifications of everybody, the newest first."""
        return self.page(request)

    @extend_schema(
        operation_id="classifications_start",
        request=NewClassificationSerializer,
        responses={202: ClassificationSerializer},
    )
    @idempotent_by_itself
    def post(self, request: Request) -> Response:
        """Classify everybody as of a day; the run that is doing so already, if there is one."""
        asked = NewClassificationSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        try:
            run = scoring_runs.start(asked.validated_data.get("as_of"))
        except scoring_runs.ScoringError as problem:
            raise Unprocessable(str(problem)) from problem
        AuditEntry.record("api.classification_started", run, token=self.token.prefix)
        shown = ClassificationSerializer(one(CLASSIFICATIONS, pk=run.pk)).data
        return Response(shown, status=status.HTTP_202_ACCEPTED)

    def rows(self, wanted: Mapping[str, Any]) -> QuerySet[ScoringRun]:
        return CLASSIFICATIONS.all()


class ClassificationView(Resource):
    scopes = {"GET": Scope.JOBS_READ}

    @extend_schema(operation_id="classifications_read", responses=ClassificationSerializer)
    def get(self, request: Request, pk: int) -> Response:
        """State and progress of a classification."""
        return Response(ClassificationSerializer(one(CLASSIFICATIONS, pk=pk)).data)


class CancelClassificationView(Resource):
    scopes = {"POST": Scope.JOBS_RUN}

    @extend_schema(operation_id="classifications_cancel", request=None, responses=ClassificationSerializer)
    @idempotent
    def post(self, request: Request, pk: int) -> Response:
        """Stop a classification; what is stored stays. 409 when it is over."""
        run = one(ScoringRun.objects.all(), pk=pk)
        if not scoring_runs.cancel(run):
            raise Conflict(_("It is over already."))
        AuditEntry.record("api.classification_cancelled", run, token=self.token.prefix)
        return Response(ClassificationSerializer(one(CLASSIFICATIONS, pk=pk)).data)


class ImportsView(ListResource):
    scopes = {"GET": Scope.JOBS_READ, "POST": Scope.IMPORTS_RUN}
    parser_classes = [FileParser]
    serializer = ImportSerializer
    ordering = ("-id",)

    @extend_schema(operation_id="imports_list", parameters=[Query], responses=ImportSerializer(many=True))
    def get(self, request: Request) -> Response:
        """Imports of files, the newest first."""
        return self.page(request)

    @extend_schema(
        operation_id="imports_start", request=NewImportSerializer, responses={202: ImportSerializer}
    )
    @idempotent_where_settled
    def post(self, request: Request, *, settle: Settle = unsettled) -> Response:
        """Hand a file to a worker. 422 with the reason when it cannot be read; the same events again add nothing."""
        asked = NewImportSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        kept = uploads.keep(asked.validated_data["file"], asked.validated_data)

        def inside(run: ImportRun) -> None:
            AuditEntry.record("api.import_started", run, token=self.token.prefix, file=run.file_name)
            settle(_started(run))

        try:
            run = imports.request_run(uploads.opened(kept), inside=inside)
        except imports.ImportProblem as problem:
            uploads.discard(kept)
            raise Unprocessable(str(problem)) from problem
        except Exception:
            uploads.discard(kept)
            raise
        return _started(run)

    def rows(self, wanted: Mapping[str, Any]) -> QuerySet[ImportRun]:
        return ImportRun.objects.all()


def _started(run: ImportRun) -> Response:
    return Response(ImportSerializer(run).data, status=status.HTTP_202_ACCEPTED)


class ImportView(Resource):
    scopes = {"GET": Scope.JOBS_READ}

    @extend_schema(operation_id="imports_read", responses=ImportSerializer)
    def get(self, request: Request, pk: int) -> Response:
        """State, progress and counts of an import."""
        return Response(ImportSerializer(one(ImportRun.objects.all(), pk=pk)).data)


class CancelImportView(Resource):
    scopes = {"POST": Scope.JOBS_RUN}

    @extend_schema(operation_id="imports_cancel", request=None, responses=ImportSerializer)
    @idempotent
    def post(self, request: Request, pk: int) -> Response:
        """Stop an import that waits, or ask one that runs to stop; what it stored stays. 409 when it is over."""
        run = one(ImportRun.objects.all(), pk=pk)
        if not imports.request_cancel(run):
            raise Conflict(_("It is over already."))
        AuditEntry.record("api.import_cancelled", run, token=self.token.prefix)
        return Response(ImportSerializer(run).data)
