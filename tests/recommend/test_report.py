"""The report: one valid page that loads nothing, whatever the names and figures are."""

import dataclasses
import re

import numpy as np
import pytest
from checked_page import Page

from autotl.metrics import METRICS, all_metrics
from autotl.recommend import charts
from autotl.recommend.confusion import confusion_matrix
from autotl.recommend.decision import TestScore as Score
from autotl.recommend.decision import decide
from autotl.recommend.explain import explain
from autotl.recommend.report import ReportContents, SamplePicture, render_report, write_report
from autotl.uncertainty import confidence_interval

HOSTILE = ("<script>alert(1)</script>", "a\"b'c\nd", "$x^2$ & `co`", "日本\x00語")
ACCURACY = METRICS["accuracy"]


@pytest.fixture
def make_contents(labels, make_record, make_profile):
    def make(
        records=None, n_classes=4, names=None, with_test=True, samples=(), metric="accuracy", **kw
    ):
        own = np.arange(max(400, 3 * n_classes), dtype=np.int64) % n_classes
        if records is None:
            records = [
                make_record(0, "bottleneck", own, 80, seconds=2.0, metric=metric),
                make_record(1, "finetune", own, 40, seconds=60.0, metric=metric),
                make_record(2, "scratch", own, 120, seconds=90.0, metric=metric),
                make_record(3, "finetune", own, None, state="pruned", seconds=9.0),
            ]
        profile = make_profile(own, names)
        decision = decide(records, own, METRICS[metric], profile, "balanced")
        test = None
        if with_test:
            p = make_record(0, "x", own, 30, n_classes=n_classes).result.probabilities
            value = METRICS[metric].value(own, p)
            interval = confidence_interval(METRICS[metric], own, p)
            test = Score(metric, value, interval, own, p, all_metrics(own, p))
        contents = ReportContents(
            title="clothing",
            explanation=explain(decision, profile, test, seconds=100.0),
            decision=decision,
            profile=profile,
            records=records,
            labels=own,
            test=test,
            samples=samples,
            environment={"python": "3.11", "device": "cpu"},
            seconds=100.0,
            tracking_hint="autotl ui",
        )
        return dataclasses.replace(contents, **kw)

    return make


def picture(name="a.png", label="class 0", predicted="class 0", size=(32, 24), probability=0.8):
    pixels = np.random.default_rng(0).integers(0, 255, (*size, 3)).astype(np.uint8)
    return SamplePicture(pixels, name, label, predicted, probability)


def test_it_is_one_valid_page_that_loads_nothing(make_contents, tmp_path):
    samples = (picture(), picture("b.png", predicted="class 1"))
    file = write_report(tmp_path / "report.html", make_contents(samples=samples))
    html = file.read_text("utf-8")
    page = Page(html)
    assert html.startswith("<!doctype html>")
    assert page.loads, "sample pictures and chart parts"
    assert all(load.startswith(("#", "data:image/png;base64,")) for load in page.loads)
    assert "http:" not in html
    assert "https:" not in html
    assert "@import" not in html
    assert set(re.findall(r"url\((.)", html)) <= {"#"}
    assert len(page.ids) == len(set(page.ids))
    assert page.tags.count("script") == 1
    assert page.tags.count("svg") == 3
    assert page.tags.count("img") == 2
    assert [f.name for f in tmp_path.iterdir()] == ["report.html"]


def test_it_shows_the_verdict_and_the_evidence(make_contents):
    contents = make_contents(samples=(picture(predicted="class 1"),))
    page = Page(render_report(contents))
    flat = page.text.replace("\u00a0", " ")
    for words in (
        "freeze the first 2 of 5 stages",
        "expected accuracy 90.0 %",
        "test accuracy 92.5 %",
        "Overturned by the trials",
        "10.0 ± 1.5 points behind",
        "pruned at 59.1 %",
        "400 locked test images",
        "✗ class 1",
        "is class 0",
        "120 to 800 pixels",
        "0.50 (0.45 to 0.55)",
        "autotl ui",
        "python 3.11",
    ):
        assert words in flat, words


def test_hostile_names_stay_text(make_contents):
    samples = tuple(picture(f"x/{n}", n, HOSTILE[0]) for n in HOSTILE)
    contents = make_contents(names=HOSTILE, samples=samples, title=HOSTILE[0])
    contents = dataclasses.replace(
        contents,
        environment={HOSTILE[0]: HOSTILE[1]},
        tracking_hint=HOSTILE[0],
        explanation=f"Recommended: {HOSTILE[0]}\n\n{HOSTILE[0]} `{HOSTILE[0]}`",
        records=[
            dataclasses.replace(
                contents.records[0],
                error=HOSTILE[0],
                config={"backbone": HOSTILE[0]},
                strategy=HOSTILE[0],
            ),
            *contents.records,
        ],
    )
    html = render_report(contents)
    page = Page(html)
    assert page.tags.count("script") == 1
    assert page.handlers == []
    assert "<script>alert" not in html
    assert "alert(1)" in page.text
    assert "\x00" not in html


def test_hostile_names_in_the_charts_of_many_classes_and_backbones(make_contents, make_profile):
    names = (*HOSTILE, *(f"class {i}" for i in range(132)))
    contents = make_contents(n_classes=136, names=names)
    backbone = contents.profile.backbones["embedded"]
    profile = dataclasses.replace(
        contents.profile, backbones=dict.fromkeys((HOSTILE[0], "_hidden", HOSTILE[2]), backbone)
    )
    html = render_report(dataclasses.replace(contents, profile=profile))
    page = Page(html)
    assert page.tags.count("script") == 1
    assert "$x^2$" in page.text
    assert page.text.count("_hidden") == 2  # in the table and in the chart's legend


@pytest.mark.parametrize("n_classes", [2, 3, 20, 21, 136])
@pytest.mark.parametrize("with_test", [True, False])
def test_few_and_many_classes(n_classes, with_test, make_contents):
    page = Page(render_report(make_contents(n_classes=n_classes, with_test=with_test)))
    assert ("Recognised least often" in page.text) == (n_classes > 20)
    assert ("true \\ predicted" in page.text) == (n_classes <= 20)
    where = "locked test images" if with_test else "validation images of the recommended trial"
    assert where in page.text


def test_one_trial_is_enough(labels, make_record, make_contents):
    page = Page(render_report(make_contents([make_record(0, "bottleneck", labels, 40)])))
    assert "1 trial, the best first" in page.text


def test_one_finished_trial_among_pruned_and_failed(labels, make_record, make_contents):
    records = [
        make_record(0, "scratch", labels, None, state="pruned"),
        make_record(1, "finetune", labels, None, state="failed", n_points=0, error="no <memory>"),
        make_record(2, "scratch", labels, None, state="deadline", n_points=0),
        make_record(3, "bottleneck", labels, 40),
        make_record(4, "finetune", labels, None, state="interrupted"),
    ]
    page = Page(render_report(make_contents(records)))
    assert "no <memory>" in page.text
    assert page.text.count("no finished trial") == 2


def test_empty_curves(labels, make_record, make_contents):
    records = [make_record(i, "finetune", labels, 40 + i, n_points=0) for i in range(2)]
    Page(render_report(make_contents(records)))


def test_figures_that_are_not_numbers(labels, make_record, make_contents):
    nan = float("nan")
    contents = make_contents(samples=(picture(probability=nan),))
    records = [
        dataclasses.replace(
            record,
            seconds=nan,
            curve=tuple(dataclasses.replace(p, score=nan) for p in record.curve),
            result=record.result and dataclasses.replace(record.result, score=nan),
        )
        for record in contents.records
    ]
    decision = dataclasses.replace(
        contents.decision,
        expected=nan,
        interval=(nan, nan),
        winner=records[1],
        strategies=tuple(
            dataclasses.replace(
                s, value=nan, interval=(nan, nan), difference=nan, standard_error=nan, seconds=nan
            )
            for s in contents.decision.strategies
        ),
    )
    test = dataclasses.replace(contents.test, value=nan, interval=(nan, nan))
    page = Page(
        render_report(dataclasses.replace(contents, records=records, decision=decision, test=test))
    )
    assert " nan " not in page.text


def test_a_loss(make_contents):
    page = Page(render_report(make_contents(metric="log_loss")))
    assert "nats" in page.text
    assert "less is better" in page.text


def test_no_samples_rules_or_environment(make_contents):
    contents = make_contents(environment={}, tracking_hint="")
    contents = dataclasses.replace(
        contents, decision=dataclasses.replace(contents.decision, rules=(), notes=())
    )
    page = Page(render_report(contents))
    for heading in ("Pictures and predictions", "Made with", "Rules of thumb, put to the test"):
        assert heading not in page.text


def test_the_same_contents_make_the_same_bytes(make_contents):
    contents = make_contents(samples=(picture(),))
    assert render_report(contents) == render_report(contents)


def test_it_leaves_matplotlib_as_it_was(make_contents):
    import matplotlib

    before = dict(matplotlib.rcParams)
    render_report(make_contents())
    assert dict(matplotlib.rcParams) == before


def test_a_failed_write_leaves_the_old_file_and_nothing_else(make_contents, tmp_path, monkeypatch):
    file = tmp_path / "report.html"
    file.write_text("old")

    def fail(*_args):
        raise OSError("disk full")

    monkeypatch.setattr("autotl.recommend.page.os.replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_report(file, make_contents())
    assert file.read_text() == "old"
    assert [f.name for f in tmp_path.iterdir()] == ["report.html"]


def test_confusion_matrix_agrees_with_scikit_learn():
    from sklearn.metrics import confusion_matrix as reference

    rng = np.random.default_rng(0)
    labels, predicted = rng.integers(0, 7, (2, 500))
    expected = reference(labels, predicted, labels=range(9))
    np.testing.assert_array_equal(confusion_matrix(labels, predicted, 9), expected)


def test_each_strategy_has_one_colour_and_others_get_a_steady_one():
    colours = [charts.colour_of(name) for name in ("finetune", "bottleneck", "scratch")]
    assert len(set(colours)) == 3
    assert charts.colour_of("adapter") == charts.colour_of("adapter")
    assert charts.colour_of("adapter") not in colours
