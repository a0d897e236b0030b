from __future__ import annotations

import itertools
import re

import pytest

from pipeline.report.lineage_layout import HEIGHT, WIDTH, lay_out


def test_a_node_is_below_all_that_it_came_from() -> None:
    edges = [("a", "b"), ("b", "c"), ("a", "c"), ("c", "d"), ("a", "d")]
    drawn = lay_out(list("dcba"), edges)
    for start, end in edges:
        assert drawn.boxes[end][1] >= drawn.boxes[start][1] + HEIGHT


def test_no_two_boxes_overlap_and_all_are_inside() -> None:
    names = [f"n{index}" for index in range(9)]
    edges = [(names[i], names[j]) for i, j in itertools.combinations(range(9), 2) if (i + j) % 3]
    drawn = lay_out(names, edges)
    for (x, y), (left, top) in itertools.combinations(drawn.boxes.values(), 2):
        assert abs(x - left) >= WIDTH or abs(y - top) >= HEIGHT
    for x, y in drawn.boxes.values():
        assert 0 <= x <= drawn.width - WIDTH
        assert 0 <= y <= drawn.height - HEIGHT


def test_a_line_goes_from_box_to_box_and_around_the_one_between() -> None:
    drawn = lay_out(["a", "b", "c"], [("a", "b"), ("b", "c"), ("a", "c")])
    points = [tuple(map(int, pair)) for pair in re.findall(r"(\d+) (\d+)", drawn.paths["a", "c"])]
    (a_left, a_top), (c_left, c_top) = drawn.boxes["a"], drawn.boxes["c"]
    assert points[0] == (a_left + WIDTH // 2, a_top + HEIGHT)
    assert points[-1] == (c_left + WIDTH // 2, c_top)
    left, top = drawn.boxes["b"]
    assert not any(left < x < left + WIDTH and top < y < top + HEIGHT for x, y in points)
    beside = re.search(r"C\d+ \d+ \d+ \d+ (\d+) (\d+)V", drawn.paths["a", "c"])
    assert beside
    assert not left <= int(beside[1]) <= left + WIDTH
    assert int(beside[2]) == top


def test_a_row_of_two_with_crossed_lines_is_turned_round() -> None:
    drawn = lay_out(["a", "b", "x", "y"], [("a", "y"), ("b", "x")])
    assert (drawn.boxes["a"][0] < drawn.boxes["b"][0]) == (
        drawn.boxes["y"][0] < drawn.boxes["x"][0]
    )


def test_cycles_and_unknown_nodes_are_refused_and_nothing_is_nothing() -> None:
    with pytest.raises(ValueError, match="cycle"):
        lay_out(["a", "b"], [("a", "b"), ("b", "a")])
    with pytest.raises(ValueError, match="unknown node"):
        lay_out(["a"], [("a", "b")])
    assert lay_out([], []).boxes == {}
