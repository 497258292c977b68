from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial import ConvexHull

from skfusion.datasets.outlines import (
    Contour,
    diameter_mm,
    draw_outlines,
    group_readers,
    signed_area,
)


def cube(x: float, side: float = 6.0) -> np.ndarray:
    corners = np.stack(np.meshgrid([0, side], [0, side], [0, side]), -1)
    return corners.reshape(-1, 3) + [x, 0, 0]


def circle(radius: float, n: int = 60, inclusion: bool = True) -> Contour:
    angle = np.linspace(0, 2 * np.pi, n, endpoint=False)
    points = radius * np.c_[np.cos(angle), np.sin(angle)]
    return Contour(0.0, points, inclusion)


def test_outlines_within_the_tolerance_are_one_lesion_in_a_chain() -> None:
    # gaps between neighbours: 1, 1 and 3 mm
    clouds = [cube(x) for x in (0, 7, 14, 23)]
    assert group_readers(clouds, 1.0).tolist() == [0, 0, 0, 1]
    assert group_readers(clouds, 0.9).tolist() == [0, 1, 2, 3]
    assert group_readers(clouds, 3.0).tolist() == [0, 0, 0, 0]


def test_near_boxes_do_not_make_neighbours() -> None:
    line = np.linspace(0, 20, 21)
    diagonal = np.c_[line, line, np.zeros(21)]
    corner = np.array([[19.0, 1.0, 0.0], [20.0, 0.0, 0.0]])  # in the diagonal's box
    assert group_readers([diagonal, corner], 2.0).tolist() == [0, 1]


def test_touching_lesions_are_cut_so_that_each_reader_counts_once() -> None:
    rng = np.random.default_rng(0)
    where = np.array([0, 1, 0, 1, 1, 0, 1, 0])  # two lesions, each seen by four
    clouds = [cube(6.5 * w) + rng.normal(scale=0.2, size=3) for w in where]
    assert group_readers(clouds, 2.0, max_readers=8).tolist() == [0] * 8
    assert group_readers(clouds, 2.0).tolist() == where.tolist()


def test_identical_outlines_in_excess_are_still_cut() -> None:
    groups = group_readers([cube(0)] * 9, 1.0)
    assert np.bincount(groups).max() <= 4


def test_area_and_diameter_against_scipy() -> None:
    points = np.random.default_rng(1).normal(size=(30, 2)) * 5
    hull = points[ConvexHull(points).vertices]
    assert signed_area(Contour(0, hull, True)) == pytest.approx(
        ConvexHull(points).volume
    )
    farthest = np.linalg.norm(points[:, None] - points[None], axis=-1).max()
    assert diameter_mm([Contour(0, hull, True)]) == pytest.approx(farthest)


def test_the_diameter_is_measured_within_a_slice() -> None:
    low = Contour(0.0, np.array([[0.0, 0.0], [3.0, 0.0]]), True)
    high = Contour(50.0, np.array([[90.0, 0.0], [92.0, 0.0]]), True)
    dot = Contour(60.0, np.array([[500.0, 0.0]]), True)
    assert diameter_mm([low, high, dot]) == 3.0


@pytest.mark.parametrize("mm_per_pixel", [0.2, 0.5])
def test_the_drawn_area_is_the_polygon_area(mm_per_pixel: float) -> None:
    image = draw_outlines([[circle(8.0)]], 100, mm_per_pixel)
    drawn = image.sum() / 255 * mm_per_pixel**2
    assert drawn == pytest.approx(signed_area(circle(8.0)), rel=0.005)
    np.testing.assert_allclose(image.astype(int), image[::-1], atol=32)  # centred
    np.testing.assert_allclose(image.astype(int), image.T, atol=32)


def test_readers_are_averaged_and_holes_cut_out() -> None:
    ring = [circle(3.0, inclusion=False), circle(8.0)]
    image = draw_outlines([ring, [circle(8.0)]], 40, 0.5)
    assert image[20, 20] == 128  # one of two readers: a hole is not an outline
    assert image[20, 30] == 255
    assert image[0, 0] == 0
    holes = draw_outlines([ring], 40, 0.5)
    area = np.pi * (8**2 - 3**2)
    assert holes.sum() / 255 * 0.25 == pytest.approx(area, rel=0.01)


def test_overlapping_parts_of_one_reader_are_a_union() -> None:
    twice = draw_outlines([[circle(5.0), circle(5.0)]], 40, 0.5)
    np.testing.assert_array_equal(twice, draw_outlines([[circle(5.0)]], 40, 0.5))


def test_the_largest_slice_is_drawn() -> None:
    small = circle(2.0)._replace(z=1.0)
    image = draw_outlines([[small, circle(7.0)], [small]], 40, 0.5)
    expected = draw_outlines([[circle(7.0)], []], 40, 0.5)
    np.testing.assert_array_equal(image, expected)
    assert set(np.unique(expected[19:21, 10:30])) == {128}


def test_of_equally_large_slices_the_lower_is_drawn() -> None:
    points = np.array([[0.1, 0.1], [6.3, 0.2], [0.4, 3.7]])
    low, high = Contour(1.0, points, True), Contour(2.0, 90.7 - points, True)
    expected = draw_outlines([[low]], 20, 0.5)
    for contours in ([low, high], [high, low]):
        np.testing.assert_array_equal(draw_outlines([contours], 20, 0.5), expected)


def test_what_exceeds_the_image_is_cut_off() -> None:
    assert draw_outlines([[circle(50.0)]], 8, 1.0).tolist() == [[255] * 8] * 8


def test_only_holes_cannot_be_drawn() -> None:
    with pytest.raises(ValueError, match="none with a contour that is not a hole"):
        draw_outlines([[circle(5.0, inclusion=False)]], 8, 1.0)
