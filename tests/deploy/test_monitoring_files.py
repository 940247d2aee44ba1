"""The files for Prometheus and Grafana: their form, and which rule fires when."""

import json
import re
import subprocess
from itertools import combinations

import pytest
import yaml
from support.monitoring import MONITORING, alerts, dashboard, expressions, needs_promtool, panels
from support.promql import parse

from deploy.cli import main

EVERY = "1m"


@pytest.mark.parametrize(
    ("expression", "selectors", "grouped_by"),
    [
        ("a", [("a", {})], set()),
        ("rate(a[5m]) / b > 2e9", [("a", {}), ("b", {})], set()),
        ('a{x="1", y!~"b|c"}', [("a", {"x": ("=", "1"), "y": ("!~", "b|c")})], set()),
        ("sum by (le, x) (a) unless on (y) b", [("a", {}), ("b", {})], {"le", "x", "y"}),
        ("sum(a offset 5m) without (z) == bool 1", [("a", {})], {"z"}),
        ('label_replace(a, "x", "by (q) b", "y", "c{}")', [("a", {})], set()),
        ("a # b\n + ignoring (x) group_left c", [("a", {}), ("c", {})], {"x"}),
    ],
)
def test_expression_is_taken_apart(expression, selectors, grouped_by):
    query = parse(expression)
    assert (query.selectors, query.grouped_by) == (selectors, grouped_by)


@pytest.mark.parametrize("expression", ["a ? b", 'a{x="1"', "sum by (x"])
def test_expression_that_is_broken_is_not_taken_for_another(expression):
    with pytest.raises(ValueError, match=r"must have|no token"):
        parse(expression)


# --- The dashboard.


def test_every_panel_has_an_id_and_a_place_of_its_own():
    found = dashboard()["panels"]
    ids = [panel["id"] for panel in found]
    assert sorted(ids) == list(range(1, len(ids) + 1))
    for one, other in combinations(found, 2):
        a, b = one["gridPos"], other["gridPos"]
        is_beside = a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"]
        is_above = a["y"] + a["h"] <= b["y"] or b["y"] + b["h"] <= a["y"]
        assert is_beside or is_above, f"{one['title']} covers {other['title']}"
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in found)


def test_every_panel_says_what_it_shows_and_in_which_unit():
    titles = [panel["title"] for panel in panels()]
    assert len(set(titles)) == len(titles)
    for panel in panels():
        assert panel["description"].endswith("."), panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert panel["type"] in ("stat", "timeseries")


def test_every_query_has_a_name_a_legend_and_the_source_that_is_chosen():
    source = {"type": "prometheus", "uid": "${datasource}"}
    for panel in panels():
        queries = panel["targets"]
        assert [query["refId"] for query in queries] == list("ABCDEFGH"[: len(queries)])
        assert all(query["legendFormat"] for query in queries), panel["title"]
        assert all(each["datasource"] == source for each in (panel, *queries)), panel["title"]


def test_every_query_is_of_the_jobs_and_searches_that_are_chosen():
    names = [variable["name"] for variable in dashboard()["templating"]["list"]]
    assert names == ["datasource", "job", "run"]
    chosen = {"job": ("=~", "$job"), "run": ("=~", "$run")}
    for panel in panels():
        for query in panel["targets"]:
            for metric, labels in parse(query["expr"]).selectors:
                assert chosen.items() <= labels.items(), f"{panel['title']}: {metric}"


def test_legends_of_what_is_aggregated_name_labels_that_are_left():
    queries = [query for panel in panels() for query in panel["targets"]]
    aggregated = [q for q in queries if re.search(r"\b(sum|avg|min|max|count)\b", q["expr"])]
    assert len(aggregated) > len(queries) / 2
    for query in aggregated:
        named = set(re.findall(r"{{\s*(\w+)\s*}}", query["legendFormat"]))
        assert named <= parse(query["expr"]).grouped_by, query


# --- The rules.


def test_every_rule_says_how_grave_it_is_what_happens_and_what_to_do():
    names = [rule["alert"] for rule in alerts()]
    assert len(set(names)) == len(names)
    for rule in alerts():
        assert rule["labels"]["severity"] in ("critical", "warning"), rule["alert"]
        assert rule["for"], rule["alert"]
        assert set(rule["annotations"]) == {"summary", "description"}
        assert all(text.endswith(".") for text in rule["annotations"].values()), rule["alert"]


def test_page_about_monitoring_has_every_rule():
    page = (MONITORING.parents[1] / "docs" / "monitoring.md").read_text()
    named = set(re.findall(r"\bNasrl[A-Z]\w+", page))
    assert named == {rule["alert"] for rule in alerts()}


@pytest.mark.parametrize(
    ("example", "file"),
    [
        ("prometheus", "prometheus.yaml"),
        ("alerts", "alerts.yaml"),
        ("dashboard", "grafana-dashboard.json"),
    ],
)
def test_files_are_printed_as_they_are(example, file, capsys):
    assert main(["metrics", "--example", example]) == 0
    assert capsys.readouterr().out == (MONITORING / file).read_text()


def promtool(*arguments, folder):
    ended = subprocess.run(["promtool", *arguments], cwd=folder, capture_output=True, text=True)
    return ended.returncode, ended.stdout + ended.stderr


@needs_promtool
def test_configuration_and_rules_are_taken_by_prometheus(tmp_path, capsys):
    for example, file in (("prometheus", "prometheus.yaml"), ("alerts", "alerts.yaml")):
        main(["metrics", "--example", example])
        (tmp_path / file).write_text(capsys.readouterr().out)
    (tmp_path / "targets.json").write_text("[]")
    code, said = promtool("check", "config", "--lint-fatal", "prometheus.yaml", folder=tmp_path)
    assert (code, "WARNING" in said) == (0, False), said


@needs_promtool
def test_every_query_of_the_dashboard_is_one(tmp_path):
    chosen = {"$job": "nasrl", "$run": ".*", "$__rate_interval": "1m"}
    rules = []
    for place, expression in expressions():
        for name, value in chosen.items():
            expression = expression.replace(name, value)
        rules.append({"record": "a:b", "labels": {"of": place}, "expr": expression})
    (tmp_path / "rules.yaml").write_text(
        yaml.safe_dump({"groups": [{"name": "g", "rules": rules}]})
    )
    code, said = promtool("check", "rules", "rules.yaml", folder=tmp_path)
    assert code == 0, said


def of(metric, values, process="search", **labels):
    """Give a series of a target, as promtool takes it."""
    all_of = {"job": "nasrl", "run": "first", "process": process, **labels}
    text = ", ".join(f'{name}="{value}"' for name, value in all_of.items())
    return {"series": f"{metric}{{{text}}}", "values": values}


def search(name, values, **labels):
    return of(f"nasrl_search_{name}", values, **labels)


def replica(name, values, **labels):
    return of(f"nasrl_replica_{name}", values, process="replica-0", replica="0", **labels)


def shard(name, values, **labels):
    return of(f"nasrl_shard_{name}", values, process="shard-1", shard="1", **labels)


def alive(values):
    return search("replicas", values, state="alive")


def wanted(values):
    return search("replicas", values, state="wanted")


def workers(state, values):
    return search("child_workers", values, state=state)


LONG = "+0x200"
# When each fires, from what series, and of which the like does not fire.
CASES = {
    "NasrlSearchDown": (
        [of("up", "0" + LONG)],
        [of("up", "1" + LONG), of("up", "0" + LONG, process="replica-0")],
    ),
    "NasrlShardNotServing": (
        [shard("is_serving", "0" + LONG), of("up", "0" + LONG, process="shard-0")],
        [shard("is_serving", "1" + LONG), of("up", "1" + LONG, process="shard-1")],
    ),
    "NasrlReplicaDown": (
        [of("up", "0" + LONG, process="replica-3")],
        [of("up", "1" + LONG, process="replica-3"), of("up", "0" + LONG, process="shard-0")],
    ),
    "NasrlReplicasMissing": (
        [alive("1" + LONG), wanted("2" + LONG)],
        [alive("2" + LONG), wanted("2" + LONG)],
    ),
    "NasrlProcessesDie": (
        [search("deaths_total", "0+1x200", kind="shard")],
        [search("deaths_total", "0+0.05x200", kind="shard")],
    ),
    "NasrlChildWorkersDie": (
        [replica("child_worker_deaths_total", "0+1x200")],
        [replica("child_worker_deaths_total", "0+0.1x200")],
    ),
    "NasrlChildWorkersMissing": (
        [workers("placed", "8" + LONG), workers("ready", "7" + LONG)],
        [
            workers("placed", "8" + LONG),
            workers("ready", "8" + LONG),
            workers("wanted", "80" + LONG),
        ],
    ),
    "NasrlNoRoom": (
        [workers("placed", "0" + LONG), workers("wanted", "8" + LONG)],
        [workers("placed", "1" + LONG), workers("wanted", "8" + LONG)],
    ),
    "NasrlNoTrialRecorded": (
        [
            search("last_recorded_seconds", "0+60x200"),
            replica("child_seconds_sum", "900" + LONG),
            replica("child_seconds_count", "9" + LONG),
        ],
        # Children of an hour.
        [
            search("last_recorded_seconds", "0+60x200"),
            replica("child_seconds_sum", "32400" + LONG),
            replica("child_seconds_count", "9" + LONG),
        ],
    ),
    "NasrlInfeasible": (
        [
            search("infeasible_trials_total", "0+3x200"),
            search("recorded_trials_total", "0+4x200"),
        ],
        [
            search("infeasible_trials_total", "0+1x200"),
            search("recorded_trials_total", "0+4x200"),
        ],
    ),
    "NasrlStale": (
        [
            replica("staleness_pushes_sum", "0+100x200"),
            replica("staleness_pushes_count", "0+2x200"),
            alive("4" + LONG),
        ],
        [
            replica("staleness_pushes_sum", "0+6x200"),
            replica("staleness_pushes_count", "0+2x200"),
            alive("4" + LONG),
        ],
    ),
    "NasrlCallsUnanswered": (
        [replica("unanswered_calls_total", "0+1x200")],
        [replica("unanswered_calls_total", "0+0x50 1+0x150")],
    ),
    "NasrlResends": (
        [
            replica("resends_total", "0+3x200", method="Push"),
            replica("call_seconds_count", "0+6x200", method="Push"),
        ],
        [
            replica("resends_total", "0+1x200", method="Push"),
            replica("call_seconds_count", "0+6x200", method="Push"),
            replica("resends_total", "0+3x200", method="Pull"),
            replica("call_seconds_count", "0+60x200", method="Pull"),
        ],
    ),
    "NasrlPushesRefused": (
        [shard("pushes_total", "0+1x200", result="InvalidRequest")],
        [
            shard("pushes_total", "0+1x200", result=result)
            for result in ("accepted", "repeated", "StalePush", "ShardUnavailable")
        ],
    ),
    "NasrlRewardsLost": (
        [replica("lost_rewards_total", "0+1x200")],
        [replica("lost_rewards_total", "0+0x200")],
    ),
    "NasrlShardTurnsAway": (
        [shard("turned_away_total", "0+60x200")],
        [shard("turned_away_total", "0+1x200")],
    ),
    "NasrlSyncSlow": (
        [
            shard("sync_seconds_bucket", "0+1x200", le="1.0"),
            shard("sync_seconds_bucket", "0+2x200", le="3.0"),
            shard("sync_seconds_bucket", "0+2x200", le="+Inf"),
        ],
        [
            shard("sync_seconds_bucket", "0+19x200", le="1.0"),
            shard("sync_seconds_bucket", "0+20x200", le="3.0"),
            shard("sync_seconds_bucket", "0+20x200", le="+Inf"),
        ],
    ),
    "NasrlUploadsFail": (
        [shard("failed_uploads_total", "0+1x200")],
        [shard("failed_uploads_total", "7" + LONG)],
    ),
    "NasrlDiskAlmostFull": (
        [search("disk_free_bytes", "4e9" + LONG), search("disk_bytes", "1e11" + LONG)],
        [search("disk_free_bytes", "6e9" + LONG), search("disk_bytes", "1e11" + LONG)],
    ),
}


def test_every_rule_has_its_cases():
    assert set(CASES) == {rule["alert"] for rule in alerts()}


def check(folder, name, series, *, is_firing):
    """Have promtool say whether a rule fires after 100 minutes of these series."""
    expected = [{"labels": f'{{alertname="{name}"}}', "value": 1}] if is_firing else []
    query = {
        "expr": f'max by (alertname) (ALERTS{{alertname="{name}", alertstate="firing"}})',
        "eval_time": "100m",
        "exp_samples": expected,
    }
    tests = {
        "rule_files": [str(MONITORING / "alerts.yaml")],
        "evaluation_interval": EVERY,
        "tests": [{"interval": EVERY, "input_series": series, "promql_expr_test": [query]}],
    }
    (folder / "tests.yaml").write_text(json.dumps(tests))
    code, said = promtool("test", "rules", "tests.yaml", folder=folder)
    assert code == 0, said


@needs_promtool
@pytest.mark.parametrize("name", CASES)
def test_rule_fires_when_it_is_to_and_else_not(name, tmp_path):
    ill, well = CASES[name]
    check(tmp_path, name, ill, is_firing=True)
    check(tmp_path, name, well, is_firing=False)


@needs_promtool
def test_no_rule_fires_of_one_search_because_of_another(tmp_path):
    """The replicas of a search that is well do not excuse those of one that is ill."""
    ill, well = CASES["NasrlNoTrialRecorded"]
    other = [{**each, "series": each["series"].replace('"first"', '"second"')} for each in well]
    check(tmp_path, "NasrlNoTrialRecorded", ill + other, is_firing=True)
