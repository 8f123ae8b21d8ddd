"""Draw docs/images/architecture.svg from the imports: packages and their rooms, an arrow from who imports to what.

`python docs/architecture.py` writes it, `--check` fails (exit code 1) when the file is not what the code says. Nothing
in the picture is placed by hand but the five packages. Each package is drawn in layers: what imports nothing else of
the package stands at the bottom, everything else one layer above the highest thing that it imports; the order within a
layer is the one with the fewest crossings that sweeps of barycentres find (Sugiyama, Tagawa & Toda, 1981).
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import grimp

ROOT = Path(__file__).resolve().parents[1]
PICTURE = ROOT / "docs" / "images" / "architecture.svg"
PACKAGES = ("equiloss", "pretrain", "ift", "judge", "study")
WIDTH, MARGIN, GUTTER, BETWEEN = 1120, 12, 28, 40
JUDGE_WIDTH = 560
BOX, GAP, HEADER, PADDING = 30, 40, 34, 16
Edge = tuple[str, str]

STYLE = """
text { font: 14px system-ui, sans-serif; fill: #1f2937; }
.package > text { font-weight: 600; font-size: 16px; }
.note { font-size: 12.5px; fill: #4b5563; }
.package > rect { fill: #f8fafc; stroke: #94a3b8; }
.room rect { fill: #dbeafe; stroke: #3b82f6; }
.module rect { fill: #ffffff; stroke: #94a3b8; }
.room text, .module text { text-anchor: middle; dominant-baseline: central; }
path { fill: none; stroke: #64748b; stroke-width: 1.3; marker-end: url(#tip); }
path.packages { stroke: #1f2937; stroke-width: 2.4; marker-end: url(#big); }
marker path { stroke: none; marker-end: none; }
#tip path { fill: #64748b; }
#big path { fill: #1f2937; }
@media (prefers-color-scheme: dark) {
  text { fill: #e5e7eb; }
  .note { fill: #9ca3af; }
  .package > rect { fill: #111827; stroke: #4b5563; }
  .room rect { fill: #1e3a5f; stroke: #60a5fa; }
  .module rect { fill: #1f2937; stroke: #6b7280; }
  path { stroke: #94a3b8; }
  path.packages { stroke: #94a3b8; }
  #tip path { fill: #94a3b8; }
  #big path { fill: #94a3b8; }
  marker path { stroke: none; }
}
"""


@dataclass(frozen=True)
class Imports:
    """What stands in each package (folders are rooms, files are modules), and who imports whom."""

    nodes: Mapping[str, tuple[str, ...]]
    rooms: frozenset[str]
    edges: frozenset[Edge]


def imports() -> Imports:
    """The packages' rooms and top modules, and the imports between them, as grimp reads them from the source."""
    graph = grimp.build_graph(*PACKAGES, cache_dir=None)
    node_of = {module: ".".join(module.split(".")[:2]) for module in graph.modules}
    nodes = {
        package: tuple(sorted({n for n in node_of.values() if n.startswith(f"{package}.") and "__main__" not in n}))
        for package in PACKAGES
    }
    known = {node for members in nodes.values() for node in members}
    pairs = {
        (node_of[module], node_of[target])
        for module in graph.modules
        for target in graph.find_modules_directly_imported_by(module)
    }
    rooms = {node for node in known if (ROOT / Path(*node.split(".")) / "__init__.py").exists()}
    return Imports(nodes, frozenset(rooms), frozenset((a, b) for a, b in pairs if a != b and {a, b} <= known))


def reduced(edges: Iterable[Edge]) -> list[Edge]:
    """The edges of an acyclic graph that do not follow from others (its transitive reduction), sorted."""
    below: dict[str, set[str]] = {}
    for a, b in edges:
        below.setdefault(a, set()).add(b)

    def reaches(start: str, goal: str) -> bool:
        return start == goal or any(reaches(node, goal) for node in below.get(start, ()))

    return sorted(
        (a, b) for a, targets in below.items() for b in targets if not any(reaches(c, b) for c in targets - {b})
    )


@dataclass
class Layout:
    """A package in layers, from the bottom up; `x` is the middle of each node, and of an arrow's bends."""

    layers: list[list[str]]
    chains: dict[Edge, list[str]]
    """The nodes that an arrow goes through from its start to its end, bends included."""
    x: dict[str, float] = field(default_factory=dict[str, float])


def width(node: str) -> float:
    """How wide a node's box is; a bend (whose name has an arrow in it) is a line."""
    return 14.0 if ">" in node else 22 + 8.2 * len(node.split(".")[-1])


def layout(nodes: Sequence[str], edges: Sequence[Edge], space: float) -> Layout:
    """Place the nodes of an acyclic graph in layers within `space` pixels."""
    below = {node: [b for a, b in edges if a == node] for node in nodes}
    level: dict[str, int] = {}

    def rank(node: str) -> int:
        if node not in level:
            level[node] = 1 + max((rank(target) for target in below[node]), default=-1)
        return level[node]

    layers: list[list[str]] = [[] for _ in range(1 + max(map(rank, nodes)))]
    for node in sorted(nodes):
        layers[level[node]].append(node)
    chains: dict[Edge, list[str]] = {}
    for a, b in edges:
        bends = [f"{a}>{b}@{row}" for row in range(level[a] - 1, level[b], -1)]
        chains[a, b] = [a, *bends, b]
        for bend in bends:
            layers[int(bend.split("@")[1])].append(bend)
    links = {(upper, lower) for chain in chains.values() for upper, lower in pairwise(chain)}
    placed = Layout(ordered(layers, links), chains)
    place(placed, links, space)
    return placed


def crossings(layers: Sequence[Sequence[str]], links: Iterable[Edge]) -> int:
    """How many pairs of links cross, given the order within each layer."""
    at = {node: (row, place) for row, layer in enumerate(layers) for place, node in enumerate(layer)}
    ends = [(at[a][0], at[a][1], at[b][1]) for a, b in links]
    return sum(
        (one[1] - other[1]) * (one[2] - other[2]) < 0
        for number, one in enumerate(ends)
        for other in ends[:number]
        if one[0] == other[0]
    )


def ordered(layers: list[list[str]], links: set[Edge]) -> list[list[str]]:
    """The layers with their nodes in an order of few crossings: barycentre sweeps, then swaps of neighbours."""
    near: dict[str, list[str]] = {node: [] for layer in layers for node in layer}
    for a, b in sorted(links):
        near[a].append(b)
        near[b].append(a)
    best, fewest = layers, crossings(layers, links)
    current = [list(layer) for layer in layers]
    for sweep in range(24):
        rows = range(len(current)) if sweep % 2 == 0 else range(len(current) - 1, -1, -1)
        for row in rows:
            at = {node: place / max(1, len(layer) - 1) for layer in current for place, node in enumerate(layer)}
            middle = {n: sum(at[o] for o in near[n]) / len(near[n]) if near[n] else at[n] for n in current[row]}
            current[row].sort(key=lambda node: (middle[node], node))
        if (count := crossings(current, links)) < fewest:
            best, fewest = [list(layer) for layer in current], count
    improved = True
    while improved:
        improved = False
        for layer in best:
            for place in range(len(layer) - 1):
                layer[place], layer[place + 1] = layer[place + 1], layer[place]
                if (count := crossings(best, links)) < fewest:
                    fewest, improved = count, True
                else:
                    layer[place], layer[place + 1] = layer[place + 1], layer[place]
    return best


def place(placed: Layout, links: set[Edge], space: float) -> None:
    """Give every node its x: near the mean of its neighbours, in order, without overlaps, within the space."""
    near: dict[str, list[str]] = {node: [] for layer in placed.layers for node in layer}
    for a, b in sorted(links):
        near[a].append(b)
        near[b].append(a)
    for layer in placed.layers:
        share = space / (len(layer) + 1)
        placed.x.update({node: share * (number + 1) for number, node in enumerate(layer)})
    for sweep in range(40):
        rows = placed.layers if sweep % 2 == 0 else placed.layers[::-1]
        for layer in rows:
            wanted = [sum(placed.x[o] for o in near[n]) / len(near[n]) if near[n] else placed.x[n] for n in layer]
            placed.x.update(zip(layer, spread(wanted, [width(n) for n in layer], space), strict=True))
    before = min(x - width(node) / 2 for node, x in placed.x.items())
    after = min(space - x - width(node) / 2 for node, x in placed.x.items())
    placed.x.update({node: x + (after - before) / 2 for node, x in placed.x.items()})


def spread(wanted: Sequence[float], widths: Sequence[float], space: float) -> list[float]:
    """The middles closest to `wanted` (least squares) that keep the order and do not overlap, moved into the space."""
    apart = [0.0]
    for left, right in pairwise(widths):
        apart.append(apart[-1] + (left + right) / 2 + 18)
    blocks: list[list[float]] = []  # pooled neighbours: [sum, count]
    for value, offset in zip(wanted, apart, strict=True):
        blocks.append([value - offset, 1])
        while len(blocks) > 1 and blocks[-2][0] / blocks[-2][1] > blocks[-1][0] / blocks[-1][1]:
            total, count = blocks.pop()
            blocks[-1][0] += total
            blocks[-1][1] += count
    starts = [total / count for total, count in blocks for _ in range(int(count))]
    low, high = widths[0] / 2, space - widths[-1] / 2 - apart[-1]
    if high < low:
        raise ValueError(f"a layer of {len(widths)} boxes does not fit {space:.0f} pixels: make the picture wider")
    return [min(max(start, low), high) + offset for start, offset in zip(starts, apart, strict=True)]


def draw_package(name: str, code: Imports, left: float, top: float, box: tuple[float, float], placed: Layout) -> str:
    """A package's frame, arrows and boxes; its layers fill the height."""
    space, height = box
    count = len(placed.layers)
    step = (height - HEADER - PADDING - BOX) / max(1, count - 1)
    y = {node: top + height - PADDING - BOX - row * step for row, layer in enumerate(placed.layers) for node in layer}
    x = {node: left + PADDING + value for node, value in placed.x.items()}
    parts = [
        f'<g class="package"><rect x="{left:.0f}" y="{top:.0f}" width="{space:.0f}" height="{height:.0f}" rx="8"/>',
        f'<text x="{left + 14:.0f}" y="{top + 23:.0f}">{name}</text>',
    ]
    starts = ports(placed.chains, x, 0)
    ends = ports(placed.chains, x, -1)
    for edge, chain in sorted(placed.chains.items()):
        here = (starts[edge], y[chain[0]] + BOX)
        line = f"M{here[0]:.0f} {here[1]:.0f}"
        for node in chain[1:]:
            last = node == chain[-1]
            there = (ends[edge] if last else x[node], y[node] if last else y[node] + BOX / 2)
            bend = (there[1] - here[1]) / 2
            line += f" C{here[0]:.0f} {here[1] + bend:.0f} {there[0]:.0f} {there[1] - bend:.0f} "
            line += f"{there[0]:.0f} {there[1] - 2 * last:.0f}"
            here = there
        parts.append(f'<path d="{line}"/>')
    for node in code.nodes[name]:
        kind, wide = ("room" if node in code.rooms else "module"), width(node)
        parts.append(
            f'<g class="{kind}"><rect x="{x[node] - wide / 2:.0f}" y="{y[node]:.0f}" width="{wide:.0f}" '
            f'height="{BOX}" rx="5"/><text x="{x[node]:.0f}" y="{y[node] + BOX / 2:.0f}">'
            f"{node.split('.')[-1]}</text></g>"
        )
    return "\n".join([*parts, "</g>"])


def ports(chains: Mapping[Edge, list[str]], x: Mapping[str, float], end: int) -> dict[Edge, float]:
    """Where each arrow leaves its first box (end 0) or meets its last (-1): side by side, in order."""
    found: dict[Edge, float] = {}
    by_node: dict[str, list[Edge]] = {}
    for edge in chains:
        by_node.setdefault(edge[end], []).append(edge)
    for node, edges in by_node.items():
        edges.sort(key=lambda edge: x[chains[edge][1 if end == 0 else -2]])
        share = 0.8 * width(node) / (len(edges) + 1)
        for number, edge in enumerate(edges, start=1):
            found[edge] = x[node] + share * (number - (len(edges) + 1) / 2)
    return found


def picture() -> str:
    """The whole picture as SVG."""
    code = imports()
    right_width = WIDTH - 2 * MARGIN - GUTTER - JUDGE_WIDTH - GUTTER
    wide = WIDTH - 2 * MARGIN - GUTTER
    widths = {"study": wide, "equiloss": wide, "judge": JUDGE_WIDTH, "ift": right_width, "pretrain": right_width}
    placed: dict[str, Layout] = {}
    for package in PACKAGES:
        inside = reduced((a, b) for a, b in code.edges if a.startswith(f"{package}.") and b.startswith(f"{package}."))
        placed[package] = layout(code.nodes[package], inside, widths[package] - 2 * PADDING)
    heights = {p: HEADER + PADDING + len(one.layers) * BOX + (len(one.layers) - 1) * GAP for p, one in placed.items()}
    tall = max(heights["judge"], heights["ift"] + BETWEEN + heights["pretrain"])
    more = tall - heights["ift"] - BETWEEN - heights["pretrain"]
    heights |= {"judge": tall, "ift": heights["ift"] + more // 2, "pretrain": heights["pretrain"] + more - more // 2}
    left = {p: float(MARGIN) for p in PACKAGES} | dict.fromkeys(("ift", "pretrain"), MARGIN + JUDGE_WIDTH + GUTTER)
    top = {"study": float(MARGIN)}
    top["judge"] = top["ift"] = top["study"] + heights["study"] + BETWEEN
    top["pretrain"] = top["ift"] + heights["ift"] + BETWEEN
    top["equiloss"] = top["judge"] + tall + BETWEEN
    height = top["equiloss"] + heights["equiloss"] + 44
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" role="img" '
        'aria-label="The packages of equiloss and their rooms, with an arrow from each to what it imports">',
        f"<style>{STYLE}</style>",
        "<defs>",
        *(
            f'<marker id="{name}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="{size}" markerHeight="{size}" '
            'markerUnits="userSpaceOnUse" orient="auto"><path d="M0 0.5 8 4 0 7.5z"/></marker>'
            for name, size in (("tip", 8), ("big", 14))
        ),
        "</defs>",
    ]
    for package in ("study", "judge", "ift", "pretrain", "equiloss"):
        box = (widths[package], heights[package])
        parts.append(draw_package(package, code, left[package], top[package], box, placed[package]))
    for a, b in reduced(
        {(x.split(".")[0], y.split(".")[0]) for x, y in code.edges if x.split(".")[0] != y.split(".")[0]}
    ):
        start = (left[a], widths[a], top[a] + heights[a])
        parts.append(arrow(start, (left[b], widths[b], top[b]), heights[b]))
    parts.append(
        f'<text class="note" x="{MARGIN + 2}" y="{height - 14:.0f}">An arrow: imports. Blue: a room (a folder); white: '
        "a module. Arrows that follow from other arrows are left out; so are modules called __main__.</text>"
    )
    return "\n".join([*parts, "</svg>", ""])


def arrow(start: tuple[float, float, float], end: tuple[float, float, float], height: float) -> str:
    """An arrow between packages: straight down between neighbours, along the right edge past others."""
    (a_left, a_width, a_bottom), (b_left, b_width, b_top) = start, end
    x = max(a_left, b_left) + min(a_width, b_width) / 2
    if b_top - a_bottom <= BETWEEN:
        return f'<path class="packages" d="M{x:.0f} {a_bottom:.0f} V{b_top - 1:.0f}"/>'
    side, into = WIDTH - MARGIN - GUTTER / 2, b_top + height / 2
    return (
        f'<path class="packages" d="M{a_left + a_width - 40:.0f} {a_bottom:.0f} v{BETWEEN / 2:.0f} H{side:.0f} '
        f'V{into:.0f} H{b_left + b_width + 1:.0f}"/>'
    )


def main() -> int:
    """Write the picture, or with `--check` compare it with the file."""
    sys.path.insert(0, str(ROOT))
    new = picture()
    if "--check" not in sys.argv:
        PICTURE.write_text(new, encoding="utf-8")
        return 0
    if PICTURE.exists() and PICTURE.read_text(encoding="utf-8") == new:
        return 0
    print(f"{PICTURE.relative_to(ROOT)} is not what the imports say: run `make figures`", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
