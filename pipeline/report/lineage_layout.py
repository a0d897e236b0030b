"""A small graph laid out in layers, from top to bottom, for a picture of a dozen boxes.

References:
  Sugiyama, Tagawa, Toda, "Methods for Visual Understanding of Hierarchical System Structures",
  1981:
  layers by longest path, stand-ins where an edge crosses a layer, order by barycentres.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence

WIDTH, HEIGHT = 176, 44
_GAP_X, _GAP_Y, _MARGIN = 18, 40, 4
# A stand-in takes less room than a box.
_THIN = 20
_SWEEPS = 6

Edge = tuple[str, str]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Drawing:
    """Where boxes and lines go, in pixels.

    Attributes:
      width, height: of the whole.
      boxes: upper left corner of each node's box of WIDTH by HEIGHT.
      paths: an SVG path of each edge.
    """

    width: int
    height: int
    boxes: dict[str, tuple[int, int]]
    paths: dict[Edge, str]


def lay_out(nodes: Sequence[str], edges: Sequence[Edge]) -> Drawing:
    """Returns a drawing of a graph without cycles.

    Args:
      nodes: names; the order breaks ties.
      edges: pairs of them.

    Raises:
      ValueError: there is a cycle, or an edge of an unknown node.
    """
    level = _levels(nodes, edges)
    chains = {edge: _chain(edge, level) for edge in edges}
    layers: list[list[str]] = [[] for _ in range(1 + max(level.values(), default=0))]
    for name in nodes:
        layers[level[name]].append(name)
    for (start, _), chain in chains.items():
        for step, stand_in in enumerate(chain[1:-1], start=1):
            layers[level[start] + step].append(stand_in)
    links = [pair for chain in chains.values() for pair in itertools.pairwise(chain)]
    _order(layers, links)
    centres = _centres(layers, level)
    return Drawing(
        width=round(max((x for x in _rights(layers, centres, level)), default=0) + _MARGIN),
        height=len(layers) * (HEIGHT + _GAP_Y) - _GAP_Y + 2 * _MARGIN,
        boxes={name: (round(centres[name] - WIDTH / 2), _top(level[name])) for name in nodes},
        paths={edge: _path(chain, level[edge[0]], centres) for edge, chain in chains.items()},
    )


def _levels(nodes: Sequence[str], edges: Sequence[Edge]) -> dict[str, int]:
    """Returns the length of the longest way to each node."""
    level = dict.fromkeys(nodes, 0)
    if {name for edge in edges for name in edge} - set(nodes):
        raise ValueError("an edge names an unknown node")
    for _ in nodes:
        moved = False
        for start, end in edges:
            if level[end] <= level[start]:
                level[end] = level[start] + 1
                moved = True
        if not moved:
            return level
    if edges:
        raise ValueError("the graph has a cycle")
    return level


def _chain(edge: Edge, level: Mapping[str, int]) -> list[str]:
    """Returns an edge's way through the layers, with a stand-in for each that it crosses."""
    start, end = edge
    between = range(1, level[end] - level[start])
    return [start, *(f"{start}\0{end}\0{step}" for step in between), end]


def _order(layers: list[list[str]], links: Sequence[Edge]) -> None:
    """Sorts each layer by where its neighbours are, down and up again."""
    for sweep in range(_SWEEPS):
        down = sweep % 2 == 0
        pairs = links if down else [(end, start) for start, end in links]
        for index in range(1, len(layers)) if down else range(len(layers) - 2, -1, -1):
            beside = layers[index - 1 if down else index + 1]
            place = {name: (at + 0.5) / len(beside) for at, name in enumerate(beside)}
            wanted = {}
            for at, name in enumerate(layers[index]):
                around = [place[other] for other, one in pairs if one == name and other in place]
                own = (at + 0.5) / len(layers[index])
                wanted[name] = sum(around) / len(around) if around else own
            layers[index].sort(key=wanted.__getitem__)


def _room(name: str, level: Mapping[str, int]) -> int:
    return WIDTH if name in level else _THIN


def _centres(layers: Sequence[Sequence[str]], level: Mapping[str, int]) -> dict[str, float]:
    """Returns each name's middle; layers are centred below each other."""
    widths = [
        sum(_room(name, level) for name in layer) + _GAP_X * (len(layer) - 1) for layer in layers
    ]
    centres = {}
    for layer, width in zip(layers, widths, strict=True):
        x = _MARGIN + (max(widths) - width) / 2
        for name in layer:
            centres[name] = x + _room(name, level) / 2
            x += _room(name, level) + _GAP_X
    return centres


def _rights(
    layers: Sequence[Sequence[str]], centres: Mapping[str, float], level: Mapping[str, int]
) -> list[float]:
    return [centres[name] + _room(name, level) / 2 for layer in layers for name in layer]


def _top(level: int) -> int:
    return _MARGIN + level * (HEIGHT + _GAP_Y)


def _path(chain: Sequence[str], level: int, centres: Mapping[str, float]) -> str:
    """Returns a smooth way down from the lower edge of a box to the upper edge of another."""
    x = round(centres[chain[0]])
    parts = [f"M{x} {_top(level) + HEIGHT}"]
    for step, name in enumerate(chain[1:], start=level + 1):
        x_next, y_next = round(centres[name]), _top(step)
        middle = y_next - _GAP_Y // 2
        parts.append(f"C{x} {middle} {x_next} {middle} {x_next} {y_next}")
        if name != chain[-1]:
            parts.append(f"V{y_next + HEIGHT}")
        x = x_next
    return "".join(parts)
