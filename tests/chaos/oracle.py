"""Is everything that was promised true? Compares the journals of the outside world with the rows, in plain SQL."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from tests.chaos.journals import Journal
from tests.chaos.servers import Database

# Every table whose rows are work under a lease.
WORK = {
    "message received": "crm_integration_inboundmessage",
    "message to send": "crm_integration_outboundmessage",
    "customer to rescore": "segmentation_duecustomer",
    "import": "segmentation_importrun",
    "training": "segmentation_trainingrun",
    "part of a classification": "segmentation_scoringshard",
}
OPEN = "('queued', 'running')"


@dataclass
class Oracle:
    database: Database
    accepted: Journal
    delivered: Journal

    def unsettled(self) -> list[str]:
        """What is still under way; empty when the product has nothing left to do.

        Asked at once: what ends in one table while the next is looked at may have left work in the one before.
        """
        tables = {**WORK, "classification": "segmentation_scoringrun"}
        under_way = " UNION ALL ".join(
            f"SELECT '{name}', state, count(*) FROM {table} WHERE state IN {OPEN} GROUP BY state"
            for name, table in tables.items()
        )
        return [f"{count} × {name} {state}" for name, state, count in self._rows(under_way)]

    def findings(self) -> list[str]:
        """Every broken promise, in words; empty is green. Call it when nothing is under way."""
        return [
            *self._messages(),
            *self._events(),
            *self._headlines(),
            *self._decisions(),
            *self._deliveries(),
            *self._receivers(),
            *self._runs(),
        ]

    def _messages(self) -> Iterator[str]:
        """Each accepted message is stored once and done."""
        stored: dict[str, list[tuple[str, str]]] = defaultdict(list)
        for key, state, error in self._rows(
            "SELECT dedupe_key, state, error FROM crm_integration_inboundmessage"
        ):
            stored[key].append((state, error))
        for key in sorted({entry["message_id"] for entry in self.accepted.read()}):
            rows = stored.get(key, [])
            if len(rows) != 1:
                yield f"message {key} was accepted once and is stored {len(rows)} times"
            yield from (
                f"message {key} is {state}: {error or 'no reason'}"
                for state, error in rows
                if state != "done"
            )

    def _events(self) -> Iterator[str]:
        """Each order that was told is one event of its customer, with its amount; and no order came from nowhere."""
        stored: dict[str, list[tuple[str, int]]] = defaultdict(list)
        for order, customer, amount in self._rows(
            "SELECT e.order_key, c.reference, e.amount_minor FROM segmentation_event e "
            "JOIN segmentation_customer c ON c.id = e.customer_id "
            "JOIN segmentation_eventsource s ON s.id = e.source_id "
            "WHERE s.slug = 'shop' AND e.superseded_at IS NULL"
        ):
            stored[order].append((customer, amount))
        told = self._orders()
        for order, expected in told.items():
            if stored.get(order) != [expected]:
                yield f"order {order} should be {expected} once, and is stored as {stored.get(order, [])}"
        yield from (f"order {order} was never accepted" for order in sorted(set(stored) - set(told)))

    def _orders(self) -> dict[str, tuple[str, int]]:
        return {entry["order"]: (entry["customer"], entry["minor"]) for entry in self.accepted.read()}

    def _headlines(self) -> Iterator[str]:
        """Scoring has seen all orders of the customers that only webhooks know."""
        told: dict[str, list[int]] = defaultdict(list)
        for customer, minor in self._orders().values():
            told[customer].append(minor)
        rows = self._rows("SELECT reference, orders, spent_minor FROM segmentation_customer")
        stored = {reference: (orders, spent) for reference, orders, spent in rows}
        parked = {
            reference
            for (reference,) in self._rows(
                "SELECT c.reference FROM segmentation_duecustomer d JOIN segmentation_customer c "
                "ON c.id = d.customer_id WHERE d.state = 'failed' AND d.error <> ''"
            )
        }
        for customer, amounts in sorted(told.items()):
            expected = (len(amounts), sum(amounts))
            if stored.get(customer) != expected and customer not in parked:
                yield f"{customer} has {expected} by the journal and {stored.get(customer)} in the headline"

    def _decisions(self) -> Iterator[str]:
        """Each customer who was told of has a decision, and no input was decided twice."""
        rows = self._rows(
            "SELECT c.reference, d.input_version, d.policy_id FROM segmentation_decision d "
            "JOIN segmentation_customer c ON c.id = d.customer_id"
        )
        for (reference, version, _policy), count in Counter(rows).items():
            if count > 1:
                yield f"{reference} was decided {count} times for its version {version}"
        decided = {reference for reference, _version, _policy in rows}
        headlines = self._rows("SELECT reference FROM segmentation_customer WHERE scored_as_of IS NOT NULL")
        yield from (f"{reference} has no decision" for (reference,) in headlines if reference not in decided)

    def _deliveries(self) -> Iterator[str]:
        """Each message arrived, or a newer one about the customer did; one id a decision, repeats keep theirs."""
        sent = self._rows(
            "SELECT message_id, state, error, id, connection_id, customer_id FROM crm_integration_outboundmessage"
        )
        for message, count in Counter(row[0] for row in sent).items():
            if count > 1:
                yield f"{message} is stored {count} times"
        newest: dict[tuple[int, int], int] = defaultdict(int)
        for *_message, key, connection, customer in sent:
            newest[connection, customer] = max(key, newest[connection, customer])
        arrived: Counter[str] = Counter()
        names: dict[int, set[str]] = defaultdict(set)
        for entry in self.delivered.read():
            arrived[entry["id"]] += 1
            if entry["topic"] == "decision.made":
                names[entry["decision"]].add(entry["id"])
        for message, state, error, key, connection, customer in sent:
            if state == "cancelled" and key < newest[connection, customer]:
                continue
            if state != "done":
                yield f"{message} is {state}: {error or 'no reason'}"
            elif not arrived[message]:
                yield f"{message} counts as delivered and never arrived"
        yield from (f"decision {key} came under {sorted(ids)}" for key, ids in names.items() if len(ids) > 1)
        known = {row[0] for row in sent}
        yield from (f"{message} arrived and is not known" for message in sorted(set(arrived) - known))

    def _receivers(self) -> Iterator[str]:
        """Whoever the shop told of and was decided, the receiver has heard of, whatever the product has noted about it."""
        heard = {entry["customer"] for entry in self.delivered.read()}
        decided = {
            reference
            for (reference,) in self._rows(
                "SELECT DISTINCT c.reference FROM segmentation_decision d "
                "JOIN segmentation_customer c ON c.id = d.customer_id"
            )
        }
        told = {customer for customer, _minor in self._orders().values()}
        yield from (f"the receiver never heard of {customer}" for customer in sorted(told & decided - heard))

    def _runs(self) -> Iterator[str]:
        """Nothing failed without a reason; a finished classification counted each customer of its range once."""
        for name, table in WORK.items():
            silent = self._rows(f"SELECT count(*) FROM {table} WHERE state = 'failed' AND error = ''")[0][0]
            if silent:
                yield f"{silent} × {name} failed without a reason"
        for run, state, error in self._rows("SELECT id, state, error FROM segmentation_scoringrun"):
            if state == "failed" and not error:
                yield f"classification {run} failed without a reason"
        for run, scored, customers in self._rows(
            "SELECT r.id, sum(p.scored), r.customers FROM segmentation_scoringrun r "
            "JOIN segmentation_scoringshard p ON p.run_id = r.id WHERE r.state = 'done' GROUP BY r.id, r.customers"
        ):
            if scored != customers:
                yield f"classification {run} scored {scored} customers of {customers}"

    def _rows(self, sql: str) -> list[tuple[Any, ...]]:
        return self.database.rows(sql)


def repeats(delivered: Iterable[dict[str, Any]]) -> int:
    """How many deliveries came again under the id they had."""
    return sum(count - 1 for count in Counter(entry["id"] for entry in delivered).values())
