"""Draws docs/performance.png from what ``python -m benchmarks --json FILE`` wrote."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

PICTURE = Path(__file__).parents[1] / "docs" / "performance.png"


def main() -> None:
    """Two panels: Adam against others on every list of shapes; every optimizer against its own bytes."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.plot", description=__doc__)
    parser.add_argument("file", help="the numbers")
    options = parser.parse_args()
    results = json.loads(Path(options.file).read_text())
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 4.5), width_ratios=(3, 2), layout="constrained")

    work = [row["work"] for row in results["adam"]]
    others = [key for key in results["adam"][0] if key not in ("work", "ms", "best")]
    width = 0.8 / len(others)
    for k, other in enumerate(others):
        places = [i + (k - len(others) / 2 + 0.5) * width for i in range(len(work))]
        left.bar(places, [row.get(other) or float("nan") for row in results["adam"]], width, label=other)
    left.axhline(1, color="black", linewidth=0.8)
    left.set_yscale("log")
    left.set_ylim(top=5 * left.get_ylim()[1])  # room for the legend
    left.set_xticks(range(len(work)), work, rotation=20)
    left.set_ylabel("our time / other's time")
    left.set_title("Adam, float32: below 1 is faster")
    left.legend(fontsize=8, ncols=2)

    rules = sorted(results["every-optimizer"], key=lambda row: row["ratio"])
    right.barh([row["optimizer"] for row in rules], [row["ratio"] for row in rules], color="tab:blue")
    right.axvline(1, color="black", linewidth=0.8)
    right.set_title("16M elements: time / floor for the same bytes")
    right.tick_params(axis="y", labelsize=8)
    figure.savefig(PICTURE, dpi=110)


if __name__ == "__main__":
    main()
