#!/usr/bin/env python3
"""Compares the numbers of a run: report.json, its metrics, and the hub's own truth.

    numbers.py same DIR [MIDRUN.prom]        all three tell one story, and a clean one
    numbers.py fault DIR KIND TRUTH FAULT    exactly one violation, of that kind
    numbers.py whole DIR EXIT_CODE           the report is whole and has that exit code
    numbers.py limited DIR                   inconclusive for the machine's sake alone

The comparison in the program (src/report/agreement.rs) is not used: this is another reading.
"""
import json
import re
import sys
from pathlib import Path

# The states of a (message, receiver) pair.
PAIRS = ["expected", "delivered", "verified", "unverified", "not_owed", "edge", "lost", "permitted",
         "unknown", "outside", "addressed"]
# The reasons of `permitted` that are losses, not repetitions.
LOSSES = ["lost_in_reconnect_gap", "lost_overflow", "lost_unreliable", "publish_unknown",
          "publish_failed", "fire_and_forget", "at_membership_edge"]

# Series that appear while a run goes on: a thread is told of once it has used 10 ms.
LATE = "hubstorm_generator_thread_cpu_seconds_total"

problems = []


def check(what, one, other):
    if one != other:
        problems.append(f"{what}: {one} != {other}")


def between(what, least, value, most):
    if not least <= value <= most:
        problems.append(f"{what}: {value} is not in {least}..{most}")


def samples(path):
    """Samples of a Prometheus page: {(name, frozenset of labels): value}."""
    found = {}
    for line in Path(path).read_text().splitlines():
        if line.startswith("#"):
            continue
        series, value = line.rsplit(" ", 1)
        name, _, rest = series.partition("{")
        labels = frozenset(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', rest))
        if (name, labels) in found:
            problems.append(f"{path}: twice: {series}")
        found[name, labels] = float(value)
    return found


def total(page, name, **labels):
    """The sum of all series of a metric with these labels; there must be one at least."""
    wanted = set(labels.items())
    values = [v for (n, have), v in page.items() if n == name and wanted <= have]
    if not values:
        problems.append(f"no series {name} {labels}")
    return sum(values)


def report_and_metrics(report, page):
    clients, publish, delivery = report["clients"], report["publish"], report["delivery"]
    for name, labels, value in [
        ("hubstorm_clients_planned", {}, clients["planned"]),
        ("hubstorm_connects_total", {"outcome": "ok"}, clients["connects"]),
        ("hubstorm_connects_total", {"outcome": "failed"}, clients["connect_failures"]),
        ("hubstorm_dials_total", {"purpose": "connect"}, clients["connect_dials"]),
        ("hubstorm_dials_total", {"purpose": "recover"}, clients["recovery_dials"]),
        ("hubstorm_disconnects_total", {}, clients["disconnects"]),
        ("hubstorm_recoveries_total", {"outcome": "ok"}, clients["recoveries"]),
        ("hubstorm_recoveries_total", {"outcome": "failed"}, clients["recovery_failures"]),
        ("hubstorm_reconnects_total", {}, clients["reconnects"]),
        ("hubstorm_joins_total", {"outcome": "ok"}, clients["joins"]),
        ("hubstorm_joins_total", {"outcome": "failed"}, clients["join_failures"]),
        ("hubstorm_rejoins_total", {"outcome": "ok"}, clients["rejoins"]),
        ("hubstorm_rejoins_total", {"outcome": "failed"}, clients["rejoin_failures"]),
        ("hubstorm_publishes_attempted_total", {}, publish["attempted"]),
        ("hubstorm_publishes_total", {"outcome": "acked"}, publish["acked"]),
        ("hubstorm_publishes_total", {"outcome": "failed"}, publish["failed"]),
        ("hubstorm_publishes_total", {"outcome": "unknown"}, publish["unknown"]),
        ("hubstorm_publish_retries_total", {}, publish["retries"]),
        ("hubstorm_duplicate_acks_total", {}, publish["duplicate_acks"]),
        ("hubstorm_outstanding_publishes", {}, publish["outstanding"]),
        ("hubstorm_deliveries_total", {}, delivery["received"]),
        ("hubstorm_delivered_bytes_total", {}, delivery["bytes"]),
        ("hubstorm_replays_total", {}, delivery["replays"]),
    ]:
        check(f"{name} {labels}", total(page, name, **labels), value)
    for state in PAIRS:
        shown = total(page, "hubstorm_delivery_pairs", state=state)
        check(f"delivery.{state}", shown, delivery[state])
    for pool in report["pools"]:
        name = pool["name"]
        for state in PAIRS:
            shown = total(page, "hubstorm_delivery_pairs", state=state, pool=name)
            check(f"{name}: delivery.{state}", shown, pool["delivery"][state])
        for outcome in ["acked", "failed", "unknown", "unacked"]:
            shown = total(page, "hubstorm_publishes_total", outcome=outcome, pool=name)
            check(f"{name}: publish.{outcome}", shown, pool["publish"][outcome])
    for group, name in [
        ("violations", "hubstorm_violations_total"),
        ("permitted", "hubstorm_permitted_total"),
        ("unknown", "hubstorm_unknown_total"),
        ("chaos", "hubstorm_chaos_injections_total"),
    ]:
        for kind, value in report[group].items():
            check(f"{group}.{kind}", total(page, name, kind=kind), value)
    for kind, name in [
        ("connect", "hubstorm_connect_latency_seconds"),
        ("ack", "hubstorm_ack_latency_seconds"),
        ("delivery", "hubstorm_delivery_latency_seconds"),
        ("recovery", "hubstorm_recovery_duration_seconds"),
        ("reconnect", "hubstorm_reconnect_duration_seconds"),
        ("reply", "hubstorm_reply_latency_seconds"),
    ]:
        count = report["latency"][kind]["count"]
        check(f"latency.{kind}.count", total(page, f"{name}_count"), count)
        check(f"latency.{kind} +Inf", total(page, f"{name}_bucket", le="+Inf"), count)


def books(report):
    """Every book balances to the message; pools and groups add up to the run."""
    rows = [("run", report), *((f"pool {p['name']}", p) for p in report["pools"])]
    rows += [(f"group {g['name']}", g) for g in report["groups"]]
    for name, row in rows:
        sent, got = row["publish"], row["delivery"]
        settled = sum(sent[k] for k in ["acked", "failed", "unknown", "unacked", "outstanding"])
        check(f"{name}: attempted", sent["attempted"], settled)
        check(f"{name}: expected", got["expected"], got["delivered"] + got["lost"] + got["unverified"])
        others = sum(got[k] for k in ["expected", "not_owed", "permitted", "unknown", "outside"])
        check(f"{name}: addressed", got["addressed"], others)
    for part in ["pools", "groups"]:
        for key in ["attempted", "acked", "failed", "unknown"]:
            check(f"{part}: {key}", sum(r["publish"][key] for r in report[part]), report["publish"][key])
        for key in PAIRS:
            check(f"{part}: {key}", sum(r["delivery"][key] for r in report[part]), report["delivery"][key])
    permitted = sum(n for kind, n in report["permitted"].items() if kind in LOSSES)
    check("permitted losses by reason", report["delivery"]["permitted"], permitted)


def report_and_truth(report, truth):
    clients, publish, delivery = report["clients"], report["publish"], report["delivery"]
    check("faults of an honest hub", truth["faults"], {})
    # A dial may have been granted though its socket died before the answer came.
    for what, heard, dials in [
        ("connections_accepted", "connects", "connect_dials"),
        ("recoveries_accepted", "recoveries", "recovery_dials"),
    ]:
        between(what, clients[heard], truth[what], clients[dials])
    unsure = publish["unknown"] + publish["unacked"] + publish["outstanding"]
    executed = truth["publishes_executed"]
    acked = publish["acked"]
    between("publishes_executed", acked, executed, acked + unsure + publish["retries"])
    made = truth["deliveries_numbered"] + truth["deliveries_unnumbered"]
    # A session that is too full gets one message less, and ends.
    ended = truth["sessions_overflowed"] + truth["sessions_slow"]
    check("owed and made by an honest hub", truth["deliveries_owed"], made + ended)
    between("deliveries", delivery["received"], made, float("inf"))
    gone = sum(clients[k] for k in ["reconnects", "recovery_failures", "leaves", "visitors"])
    if unsure == 0 and gone == 0:
        # Nothing was out of sight: both books must be equal to the message.
        check("publishes acked and executed", acked, executed)
        check("deliveries owed", delivery["expected"] + delivery["not_owed"], made)
        check("deliveries received", delivery["received"], made)


def midrun(scraped, last):
    """A scrape shows the same series, and no counter runs ahead of the end."""
    # These appear when the run is over, and not before.
    known_then = {"hubstorm_delivery_pairs", "hubstorm_group_publishes",
                  "hubstorm_group_delivery_pairs", "hubstorm_unsure_publishes"}
    check("known before the end", {n for n, _ in scraped} & known_then, set())
    check("series gone", set(scraped) - set(last), set())
    new = {s for s in set(last) - set(scraped) if s[0] not in known_then}
    check("series new", {series for series in new if series[0] != LATE}, set())
    for (name, labels), value in scraped.items():
        if name.endswith(("_total", "_bucket", "_count")) and name.startswith("hubstorm_"):
            between(f"{name} {set(labels)}", 0, value, last.get((name, labels), 0))
    if total(scraped, "hubstorm_deliveries_total") == 0:
        problems.append("nothing had been delivered when it was scraped")


def clean(report):
    delivery = report["delivery"]
    check("verdict", (report["verdict"], report["exit_code"]), ("pass", 0))
    check("violations", sum(report["violations"].values()), 0)
    check("delivered", delivery["delivered"], delivery["expected"])
    check("verified", delivery["verified"], delivery["expected"])
    between("expected", 1, delivery["expected"], float("inf"))
    between("injected disconnects", 100, report["clients"]["disconnects_injected"], float("inf"))
    between("recoveries", 1, report["clients"]["recoveries"], float("inf"))
    check("thresholds", [t["expr"] for t in report["thresholds"] if not t["ok"]], [])


def limited(report):
    """The generator was late and nothing else is in doubt. tests/program has the same."""
    check("exit code", report["exit_code"], 4)
    others = [r for r in report["reasons"] if not r.startswith("generator limited")]
    check("other reasons", others, [])
    between("reasons", 1, len(report["reasons"]), float("inf"))


def fault(report, kind, truth, name):
    found = {k: n for k, n in report["violations"].items() if n}
    check("violations", found, {kind: 1})
    check("committed by the hub", truth["faults"].get(name), 1)
    check("exit code", report["exit_code"], 1)
    incidents = [i for i in report["incidents"] if i["kind"] == kind]
    check("incidents", len(incidents), 1)
    for incident in incidents:
        for field in ["publisher", "receiver", "group", "seq", "evidence"]:
            if incident[field] in (None, [], ""):
                problems.append(f"the incident does not say its {field}")


def main():
    command, folder, *rest = sys.argv[1:]
    report = json.loads((Path(folder) / "report.json").read_text())
    check("schema", report["schema"], "hubstorm.report/1")
    if command == "same":
        page = samples(Path(folder) / "metrics.prom")
        clean(report)
        books(report)
        report_and_metrics(report, page)
        report_and_truth(report, report["hub_truth"])
        if rest:
            midrun(samples(rest[0]), page)
    elif command == "fault":
        kind, truth, name = rest
        fault(report, kind, json.loads(Path(truth).read_text()), name)
    elif command == "limited":
        limited(report)
    elif command == "whole":
        check("exit code", report["exit_code"], int(rest[0]))
        if not report["reasons"]:
            problems.append("no reason is given")
    else:
        sys.exit(__doc__)
    for problem in problems:
        print(f"{folder}: {problem}", file=sys.stderr)
    if problems:
        sys.exit(1)
    delivery = report["delivery"]
    print(f"{folder}: {command} ok: {delivery['delivered']} of {delivery['expected']} delivered")


main()
