"""Changed answers on the page: who is hit, how sure that is, and no more of the rows than was asked for."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest

from equipoise.core.flips import AffectedRow, Flips
from equipoise.core.result import Result
from equipoise.report.details import ReportDetails
from equipoise.report.flips import flips_picture
from equipoise.report.png import PREFIX, png_uri
from equipoise.report.study import report_page
from equipoise.stats.flips import PairedLabels, error_rates, flip_counts, label_flips

SECRET = "31 <years> of age"


def flips(*, shown: bool = False, labelled: bool = True) -> Flips:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, 3000)
    few = rng.random(3000) < 0.15
    after = np.where(rng.random(3000) < np.where(few, 0.12, 0.02), 1 - truth, truth)
    labels = PairedLabels(truth, after, truth if labelled else None, ["no", "<yes>"], {"sex=F": few, "sex=M": ~few})
    row = AffectedRow(
        row=4711, truth="no", before="no", after="<yes>", fall=0.4, content={"age": SECRET} if shown else None
    )
    return Flips(
        n=3000,
        confidence=0.95,
        counts=flip_counts(labels),
        labels=label_flips(labels),
        rates=error_rates(labels),
        rows=(row,),
    )


@pytest.mark.parametrize("labelled", [True, False])
def test_plotly_takes_the_picture(labelled: bool) -> None:
    import plotly.graph_objects as go

    picture = flips_picture(flips(labelled=labelled))
    assert (picture.plot is not None) == labelled
    if picture.plot is not None:
        go.Figure(picture.plot)
        wrong, right = picture.plot["data"]
        assert len(wrong["x"]) == len(wrong["y"]) == len(picture.rows) == 5
        assert max(right["x"]) == 0
        assert wrong["x"][1] > 0.08 > 0.04 > wrong["x"][2]
    assert all(len(row) == len(picture.columns) for row in picture.rows)


def test_the_page_names_who_is_hit(replaced: Result, details: ReportDetails) -> None:
    assert 'id="flips"' not in report_page(replaced, details)
    page = report_page(replaced.model_copy(update={"flips": flips()}), details)
    assert 'id="flips"' in page
    assert "often than the other rows: sex=F (p &lt; 0.0001)" in page
    assert "4,711" in page
    assert "no → &lt;yes&gt;" in page
    assert "<yes>" not in page
    assert "--show-rows" in page
    assert "were opened anyway" in page


def test_contents_of_rows_only_where_they_were_asked_for(replaced: Result, details: ReportDetails) -> None:
    page = report_page(replaced.model_copy(update={"flips": flips(shown=True)}), details)
    assert "age: 31 &lt;years&gt; of age" in page
    assert "shown with --show-rows" not in page


def test_images_are_shown_as_pictures_and_nothing_else_is_loaded(replaced: Result, details: ReportDetails) -> None:
    Image = pytest.importorskip("PIL.Image", reason="reads the picture back")  # noqa: N806
    image = np.random.default_rng(0).integers(0, 256, (8, 6, 3), dtype=np.uint8)
    uri = png_uri(image)
    read = np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.removeprefix(PREFIX)))))
    assert np.array_equal(read, image)
    grey = np.asarray(Image.open(io.BytesIO(base64.b64decode(png_uri(image[..., :1]).removeprefix(PREFIX)))))
    assert np.array_equal(grey, image[..., 0])
    assert len(png_uri(np.zeros((200, 300, 1), np.uint8))) < 500
    content = {"image": uri, "note": PREFIX + '"><script>'}
    row = flips().rows[0].model_copy(update={"content": content})
    page = report_page(replaced.model_copy(update={"flips": flips().model_copy(update={"rows": (row,)})}), details)
    assert f'<img src="{uri}" alt="image"' in page
    assert PREFIX + "&quot;&gt;&lt;script&gt;" in page


def test_even_changes_are_called_even(replaced: Result, details: ReportDetails) -> None:
    found = flips()
    even = found.model_copy(update={"counts": tuple(each.model_copy(update={"p_value": 0.6}) for each in found.counts)})
    page = report_page(replaced.model_copy(update={"flips": even}), details)
    assert "No slice and no class turns wrong clearly more, or less, often" in page
