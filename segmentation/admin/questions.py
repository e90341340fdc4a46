"""Questions about one score, asked on a page of their own (mixed into the customer's admin)."""

from __future__ import annotations

from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.utils.translation import gettext as _t

from segmentation import questions, targets
from segmentation.admin.base import View, requires
from segmentation.dashboard import answers, score_views
from segmentation.models import Customer, Explanation, Score, Shop

SEE = "segmentation.view_score"


class QuestionDoors:
    """Needs the methods of HouseAdmin."""

    def question_urls(self) -> list[tuple[str, View, str]]:
        return [
            ("<int:pk>/scores/<int:target_pk>/", self.questions_view, "questions"),
            ("<int:pk>/answers/<int:explanation_pk>/", self.answer_view, "answer"),
        ]

    def questions_view(self: Any, request: HttpRequest, pk: int, target_pk: int) -> HttpResponse:
        requires(request, "segmentation.view_customer")
        requires(request, SEE)
        customer = get_object_or_404(Customer, pk=pk)
        score = _score(pk, target_pk)
        kind, wanted = request.GET.get("kind", ""), request.GET.get("wanted", "")
        row = None
        if kind in Explanation.Kind.values and not score.abstain_reason:
            try:
                row = questions.ask(score, kind, wanted if kind == Explanation.Kind.CHANGE else "")
            except questions.QuestionError as error:
                raise Http404 from error
        view = next(
            one for one in score_views.of_customer(customer, Shop.get()) if one.target_id == target_pk
        )
        return self.page(
            request,
            "tierwise/questions.html",
            title=_t("%(score)s of %(reference)s")
            % {"score": score.target.name, "reference": customer.reference},
            object=customer,
            customer=customer,
            score=score,
            headline=view.headline,
            definition=targets.definition(score.target),
            choices=[(name, answers.wanted_words(score.target, name)) for name in questions.choices(score)],
            kind=kind,
            wanted=wanted,
            row=row,
            answer=answers.view(row, score, Shop.get()) if row else None,
        )

    def answer_view(self, request: HttpRequest, pk: int, explanation_pk: int) -> HttpResponse:
        """For the open page: the answer, 202 while a worker has not found it yet."""
        requires(request, "segmentation.view_customer")
        requires(request, SEE)
        rows = Explanation.objects.select_related("target__attribute")
        row = get_object_or_404(rows, pk=explanation_pk, customer=pk)
        found = answers.view(row, _score(pk, row.target_id), Shop.get())
        if found is None:
            return HttpResponse(status=202)
        return render(request, "tierwise/answer.html", {"answer": found})


def _score(customer_id: int, target_id: int) -> Score:
    rows = Score.objects.select_related("target__attribute", "version", "customer")
    return get_object_or_404(rows, customer=customer_id, target=target_id)
