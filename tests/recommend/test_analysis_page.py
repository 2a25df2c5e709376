"""The analysis' page: valid, loads nothing, shows the evidence, and says what is unknown."""

import dataclasses
import re

import numpy as np
import pytest
from checked_page import Page

from autotl.analysis.analysis import analyse
from autotl.analysis.capacity import Capacity
from autotl.analysis.examination import Transferability
from autotl.analysis.feature_map import FeatureMap
from autotl.analysis.learning_curve import LearningCurve
from autotl.analysis.ranking import RankedBackbone
from autotl.analysis.similarity import DomainSimilarity, SourceDistance
from autotl.analysis.sufficiency import Sufficiency
from autotl.errors import InputError
from autotl.recommend.analysis_charts import spread
from autotl.recommend.analysis_page import (
    AnalysisContents,
    LabelledPicture,
    RepeatedPicture,
    render_analysis,
)
from autotl.recommend.page import page_place, write_page

HOSTILE = ("<script>alert(1)</script>", "a\"b'c\nd", "$x^2$ & `co`", "日本\x00語")
CURVE = LearningCurve(
    (40, 80, 160),
    (0.6, 0.7, 0.75),
    200,
    0.031,
    (0.012, 0.05),
    fitted=((40.0, 0.61, 0.58, 0.64), (200.0, 0.77, 0.74, 0.8), (400.0, 0.8, 0.75, 0.84)),
)
CAPACITY = Capacity((1_000, 4_000), (2_000_000, 500_000, 1_000), (2_000_000, 700_000, 90_000))


def picture(name="a.png", label="class 0", side=32):
    pixels = np.random.default_rng(0).integers(0, 255, (side, side, 3)).astype(np.uint8)
    return LabelledPicture(pixels, name, label)


def feature_map(labels, reason=""):
    n = 0 if reason else 60
    points = np.random.default_rng(1).normal(size=(n, 2))
    return FeatureMap(points, labels[:n], "" if reason else "t-SNE", "embedded", 400, reason)


@pytest.fixture
def make_contents(labels, make_profile):
    def make(
        n_classes=4,
        names=None,
        backbones=None,
        curve=CURVE,
        sufficient=True,
        ranking=(),
        not_looked_for=(),
        **kw,
    ):
        own = np.arange(max(400, 3 * n_classes), dtype=np.int64) % n_classes
        profile = make_profile(own, names)
        first = profile.backbones["embedded"]
        if backbones is None:
            scores = Transferability({"log_me": 0.25, "k_nn_accuracy": 0.875}, 300, 0.012)
            backbones = {"embedded": dataclasses.replace(first, transferability=scores)}
        found = Sufficiency("embedded", 512, 9.0, 8.0, curve, dict.fromkeys(backbones, CAPACITY))
        profile = dataclasses.replace(
            profile,
            backbones=backbones,
            sufficiency=found if sufficient else None,
            ranking=ranking,
            not_looked_for=not_looked_for,
        )
        contents = AnalysisContents(
            title="clothing",
            analysis=analyse(profile),
            pictures=tuple(picture(label=name) for name in profile.class_names),
            repeated=(),
            n_repeated=0,
            n_repeated_in_test=0,
            feature_map=feature_map(own),
        )
        return dataclasses.replace(contents, **kw)

    return make


def test_it_is_one_valid_page_that_loads_nothing(make_contents, tmp_path):
    file = write_page(tmp_path / "page.html", render_analysis(make_contents()))
    html = file.read_text("utf-8")
    page = Page(html)
    assert html.startswith("<!doctype html>")
    assert all(load.startswith(("#", "data:image/png;base64,")) for load in page.loads)
    assert not re.search(r"https?:|@import", html)
    assert set(re.findall(r"url\((.)", html)) <= {"#"}
    assert len(page.ids) == len(set(page.ids))
    assert "script" not in page.tags
    assert page.tags.count("svg") == 3
    assert page.tags.count("img") == 4
    assert [f.name for f in tmp_path.iterdir()] == ["page.html"]


def test_it_shows_the_recommendation_and_its_evidence(make_contents):
    contents = make_contents(not_looked_for=("crops of other pictures weren't looked for",))
    text = Page(render_analysis(contents)).text.replace("\u00a0", " ")
    for words in (
        "Fine-tune a pretrained network",
        "for those of new patients, speakers or cameras say with --group",
        "The best bet without training is the finetune strategy with embedded",
        "400 images of 4 classes",
        "somewhat like what embedded was trained on (similarity 0.50: 50 % of known data sets "
        "lie farther off)",
        "Twice as many labels would bring about +3.1 points of accuracy",
        "twice the labels +3.1 points of accuracy, +1.2 to +5.0",
        "of 100 images each",
        "0.50 (0.45 to 0.55)",
        "it says how far, not what transfer will bring",
        "k-NN accuracy 87.5 % 12 of 16, and by how much",
        "LogME 0.25 13 of 16",
        "did not foretell what transfer brings",
        "held it in 78 of 80 cases",
        "fewer images for each class went with more benefit",
        "Replace the softmax layer by one of the target's classes. 4 classes",
        "standard error of 1.2 points",
        "300 images, greater is better",
        "60 of the 400 images by t-SNE",
        "the 200 training images of the first fold",
        "1 of 2 stages and the head 500.0 k 0.0008",
        "a linear classifier of the last stage 1.0 k 0.4",
        "without its last stage 700.0 k",
        "The 512 features of the last four stages of embedded spread on about 8 or 9 dimensions",
        "which foretold nothing on 24 measured tasks",
        "Near-duplicates crops of other pictures",
    ):
        assert words in text, words
    for _, advice, figures in contents.analysis.rules:
        assert advice[1:] in text
        assert figures in text


def test_hostile_names_are_escaped(make_contents):
    pictures = tuple(picture(f"{name}/{name}.png", name) for name in HOSTILE)
    repeated = (RepeatedPicture(pictures, 9, same_label=False, same_pixels=True),)
    contents = make_contents(
        names=HOSTILE, title=HOSTILE[0], pictures=pictures, repeated=repeated, n_repeated=1
    )
    weights = "tiny@/w/" + HOSTILE[0]
    profile = contents.analysis.profile
    profile = dataclasses.replace(profile, backbones={weights: profile.backbones["embedded"]})
    found = dataclasses.replace(profile.sufficiency, backbone=weights, capacity={weights: CAPACITY})
    profile = dataclasses.replace(profile, sufficiency=found)
    shown = dataclasses.replace(contents.feature_map, backbone=weights)
    contents = dataclasses.replace(contents, analysis=analyse(profile), feature_map=shown)
    html = render_analysis(contents)
    page = Page(html)
    assert "script" not in page.tags
    assert page.handlers == []
    assert "\x00" not in html
    assert html.count('alt="') == page.tags.count("img") == 8
    for name in ("<script>alert(1)</script>", "a\"b'c d", "$x^2$ & `co`"):
        assert name in page.text


def test_many_classes_become_a_histogram(make_contents):
    text = Page(render_analysis(make_contents(n_classes=40))).text
    assert "Images per class" in text
    contents = make_contents(n_classes=60)
    html = render_analysis(contents)
    page = Page(html)
    assert "Images per class" not in page.text
    assert "How many classes have how many images" in html
    assert "Largest: class 0 (7)" in page.text
    assert page.tags.count("img") == 40
    assert "The largest 40 of 60 classes." in page.text
    assert "50 other classes" in page.text
    even = Page(render_analysis(make_contents(n_classes=50))).text
    assert "Each of the 50 classes has 8 images." in even


def test_repeated_pictures_are_shown_and_counted(make_contents):
    same, other = picture("one/x.png"), picture("two/y.png", "class 1")
    repeated = (
        RepeatedPicture((same, other), 2, same_label=False, same_pixels=True),
        RepeatedPicture((same,) * 6, 9, same_label=True, same_pixels=False),
    )
    contents = make_contents(pictures=(), repeated=repeated, n_repeated=5, n_repeated_in_test=3)
    page = Page(render_analysis(contents))
    assert page.tags.count("img") == 8
    for words in (
        "5 pictures are shown by several images",
        "2 are shown here, different labels first",
        "3 more within the locked test images",
        "equal pixels; different labels",
        "class 1 y.png",
        "nearly the same; one label: class 0; 3 more",
        "Unknown: none were collected",
    ):
        assert words in page.text, words
    assert "None were found" in Page(render_analysis(make_contents())).text


def test_what_is_unknown_is_said_with_its_reason(make_contents, make_profile, labels):
    first = make_profile(labels, similarity=None).backbones["embedded"]
    first = dataclasses.replace(first, transferability=Transferability(reason="one class only"))
    contents = make_contents(
        backbones={"vit": first},
        curve=LearningCurve(n_train=8, reason="8 samples to learn from"),
        feature_map=dataclasses.replace(
            feature_map(labels, "the features don't vary"), backbone="vit"
        ),
    )
    profile = dataclasses.replace(
        contents.analysis.profile,
        sufficiency=dataclasses.replace(
            contents.analysis.profile.sufficiency, backbone="vit", capacity={"vit": CAPACITY}
        ),
    )
    page = Page(render_analysis(dataclasses.replace(contents, analysis=analyse(profile))))
    for words in (
        "unknown for every backbone",
        "unknown: the backbone has no BatchNorm",
        "what they would bring is unknown",
        "What more labels would bring is unknown (8 samples to learn from)",
        "A map of the features of vit is unknown: the features don't vary.",
        "vit: unknown, one class only.",
    ):
        assert words in page.text, words
    assert "svg" not in page.tags
    assert "known data sets, measured with" not in page.text
    text = Page(render_analysis(make_contents(sufficient=False))).text
    assert "Unknown: the time didn't allow for all images to pass" in text


def test_landmarks_stand_beside_batchnorm_distances_only(make_contents, make_profile, labels):
    first = make_profile(labels).backbones["embedded"]
    of_reference = DomainSimilarity(0.6, None, 0.17, n_samples=90)
    backbones = {
        "embedded": first,
        "net@/w/a.safetensors": first,
        "net@/w/b.safetensors": dataclasses.replace(first, similarity=of_reference),
    }
    html = render_analysis(make_contents(backbones=backbones))
    page = Page(html)
    assert html.count("chest X-rays") == 2
    assert "known data sets, measured with the embedded backbone" in page.text
    assert "known data sets, measured with MobileNetV2" in page.text
    assert "net@a.safetensors" in page.text
    assert "net@b.safetensors" in page.text
    assert "/w/a" not in html.split("as plain text")[0]


def test_several_backbones_are_compared(make_contents, make_profile, labels):
    def scored(similarity, log_me):
        first = make_profile(labels, similarity=similarity).backbones["embedded"]
        return dataclasses.replace(first, transferability=Transferability({"log_me": log_me}, 9))

    backbones = {"far": scored(0.3, 0.75), "embedded": scored(0.7, 0.25)}
    html = render_analysis(make_contents(backbones=backbones))
    assert "much like what embedded was trained on (similarity 0.70: 70 %" in Page(html).text
    assert "<strong>0.75</strong>" in html
    assert "<strong>0.25</strong>" not in html
    assert "<strong>" not in render_analysis(make_contents())


def test_distances_from_reference_statistics_or_why_there_are_none(
    make_contents, make_profile, labels
):
    first = make_profile(labels).backbones["embedded"]

    def with_similarity(**changes):
        return dataclasses.replace(
            first, similarity=dataclasses.replace(first.similarity, **changes)
        )

    backbones = {
        "embedded": with_similarity(source=SourceDistance(0.512, 0.913, 9000)),
        "resnet10t": with_similarity(note="made with other weights"),
    }
    text = Page(render_analysis(make_contents(backbones=backbones))).text
    assert "0.51 (0.91)" in text
    assert "made with other weights" in text


def test_what_many_backbones_were_chosen_by(make_contents):
    title = "Which backbones were looked at closely"
    assert title not in render_analysis(make_contents())
    ranking = (
        RankedBackbone("good@/w/<a>.pt", 512, 0.8, 0.0, 0.0, 1.0, True),
        RankedBackbone("bad@/w/b.pt", 128, 0.5, 0.25, 0.04, 1.0, False),
    )
    html = render_analysis(make_contents(ranking=ranking))
    page = Page(html)
    assert title in page.text
    assert "good@<a>.pt" in page.text
    assert "25.0 +- 4.0" in page.text
    assert page.text.index("kept") < page.text.index("dropped")


def test_marks_keep_apart_and_stay_near():
    values = np.array([0.1, 0.11, 0.12, 0.5])
    placed = spread(values, gap=0.05, low=0.0, high=1.0)
    assert np.diff(placed).min() >= 0.05 - 1e-12
    assert placed[3] == pytest.approx(0.5)
    assert placed[:3].mean() == pytest.approx(0.11)
    placed = spread(np.array([0.0, 0.0, 1.0, 1.0]), gap=0.1, low=0.02, high=0.98)
    assert placed == pytest.approx([0.02, 0.12, 0.88, 0.98])


def test_a_page_goes_to_a_file_in_a_folder_that_is_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert page_place("page.html") == tmp_path / "page.html"
    for place, words in ((tmp_path, "is a folder"), ("absent/page.html", "no folder")):
        with pytest.raises(InputError, match=words) as error:
            page_place(place)
        assert repr(str(place)) in str(error.value)
    monkeypatch.setattr("autotl.recommend.page.os.access", lambda *_: False)
    with pytest.raises(InputError, match="write to"):
        page_place("page.html")
