"""Tables in Markdown and pictures of benchmark results."""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from benchmarks.support.outcomes import Outcome, Result, Sizes, Soak

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

RESULTS: Final = Path(__file__).parents[1] / "results"
"""The folder of the results that the documentation shows."""
PAGE: Final = Path(__file__).parents[2] / "docs" / "measurements" / "versions.md"
"""The page with the tables of these results."""
VERSIONS: Final = ("v1", "v2", "v3")
LINES: Final = {"v1": "-", "v2": "-", "v3": "--"}
COLOURS: Final = {"v1": "#8c8c8c", "v2": "#2a7fb8", "v3": "#d1602b"}
SHADES: Final = {"p50": 1.0, "p95": 0.65, "p99": 0.35}
ROUTES: Final = {
    "v1": "`/conversation/completion` v1",
    "v2": "`/conversation/completion` v2",
    "v3": "`/conversation/completion` v3",
    "chat": "`/v1/chat/completions` mimic-v3",
    "stream": "the same, streamed",
}
ANCESTOR: Final = {"v1": (29, 22), "v2": (4_676, 50), "v3": (4_292, 100)}
"""Requests per second, and seconds of seeding, of the system that Mimic descends from."""
NOT_COMPARABLE: Final = (
    "The last column is of the system that Mimic descends from, on another machine, with another load and other data.\n"
    "It was the target, and cannot be compared."
)


def write_result(result: Result, folder: Path) -> str:
    """Write figures, table and picture of a benchmark to a folder; return the table."""
    return _write(result, f"{result.store}-{result.dump}", table(result), picture(result), folder)


def write_sizes(sizes: Sizes, folder: Path) -> str:
    """Write figures, table and picture of benchmarks with dumps of several sizes; return the table."""
    return _write(sizes, f"{sizes.results[0].store}-sizes", table_of_sizes(sizes), picture_of_sizes(sizes), folder)


def write_soak(soak: Soak, folder: Path) -> str:
    """Write figures and picture of a soak to a folder; return a summary."""
    text = "\n".join([summary(soak), *(f"- {problem}" for problem in soak.problems or ["nothing went wrong"])])
    # In one line: an hour has some hundred samples of a dozen figures.
    return _write(soak, f"soak-{soak.store}", f"{text}\n", picture_of_soak(soak), folder, indent=-1)


def _write(
    found: Result | Sizes | Soak, name: str, text: str, figure: "Figure", folder: Path, *, indent: int = 2
) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_bytes(msgspec.json.format(msgspec.json.encode(found), indent=indent) + b"\n")
    (folder / f"{name}.md").write_text(text, encoding="utf-8")
    figure.savefig(folder / f"{name}.png", dpi=120)
    if folder.resolve() == RESULTS:
        PAGE.write_text(with_results(PAGE.read_text(encoding="utf-8"), RESULTS), encoding="utf-8")
    return text


def with_results(page: str, folder: Path) -> str:
    """Return a page with the results of a folder between the comments ``begin NAME`` and ``end NAME`` of each."""

    def result(found: re.Match[str]) -> str:
        file = folder / f"{found[2]}.md"
        return f"{found[1]}\n{file.read_text(encoding='utf-8')}{found[3]}" if file.exists() else found[0]

    return re.sub(r"(<!-- begin ([\w-]+) -->)\n.*?(<!-- end \2 -->)", result, page, flags=re.DOTALL)


def table(result: Result) -> str:
    """The results in Markdown."""
    loads = [
        [ROUTES[route], _rate(load.rate), *_latencies(load), f"{load.wrong:,}", _rate(ANCESTOR.get(route, (None,))[0])]
        for route, load in result.loads.items()
    ]
    seedings = [
        [
            version,
            f"{cost.documents:,}",
            f"{cost.seconds:.1f}",
            f"{cost.megabytes_per_second:.0f}",
            *(f"{size / 1e6:,.0f}" for size in (cost.peak_memory_bytes, cost.data_bytes, cost.disk_bytes)),
            f"{cost.index_bytes / 1e6:,.1f}",
            f"{ANCESTOR[version][1]}",
        ]
        for version, cost in result.seedings.items()
    ]
    headings = ["asked", "requests/s", "p50 ms", "p95 ms", "p99 ms", "wrong", "ancestor's requests/s"]
    costs = ["seeded", "documents", "seconds", "MB/s", "peak memory MB", "data MB", "on disk MB", "index MB"]
    parts = [
        _conditions(result),
        _markdown(headings, loads),
        _markdown([*costs, "ancestor's seconds"], seedings),
        NOT_COMPARABLE,
    ]
    return "\n\n".join(parts) + "\n"


def table_of_sizes(sizes: Sizes) -> str:
    """The results by size, in Markdown."""
    versions = _versions(sizes.results[0])
    rows = [
        [
            f"{result.dump_bytes / 1e6:,.0f}",
            f"{result.messages:,}",
            *(_rate(result.loads[version].rate) for version in versions),
            *(_milliseconds(result.loads[version].p99_ms) for version in versions),
            *(f"{result.seedings[version].seconds:.1f}" for version in versions),
        ]
        for result in sizes.results
    ]
    measures = ("requests/s", "p99 ms", "seeding s")
    headings = ["dump MB", "messages", *(f"{version} {what}" for what in measures for version in versions)]
    return f"{_conditions(sizes.results[-1])}\n\n{_markdown(headings, rows)}\n"


def _versions(result: Result) -> Sequence[str]:
    return [version for version in VERSIONS if version in result.seedings]


def _conditions(result: Result) -> str:
    machine = result.machine
    shares = ", ".join(f"{share:.0%} {kind}" for kind, share in result.mixture.items())
    versions = ", ".join(f"{name} {version}" for name, version in machine.versions.items())
    return (
        f"{result.store}, {result.conversations:,} conversations, {result.messages:,} messages; {result.users} users "
        f"for {result.seconds:g} s each, without a pause; {shares}.\n{result.at[:10]}, {machine.processor}, "
        f"{machine.cores} cores, {machine.memory_bytes / 2**30:.0f} GiB, {machine.system}; Python {machine.python}, "
        f"{versions}."
    )


def _markdown(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    marks = ["---", *("---:" for _ in headings[1:])]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (headings, marks, *rows))


def _rate(rate: float | None) -> str:
    return "" if rate is None else f"{rate:,.0f}" if rate >= 10 else f"{rate:.1f}"  # noqa: PLR2004 - two digits


def _latencies(load: Outcome) -> Sequence[str]:
    return [_milliseconds(value) for value in (load.p50_ms, load.p95_ms, load.p99_ms)]


def _milliseconds(value: float) -> str:
    return f"{value:,.1f}" if value < 100 else f"{value:,.0f}"  # noqa: PLR2004 - three digits


def picture(result: Result) -> "Figure":
    """Requests per second and latencies of the three versions, side by side."""
    versions = _versions(result)
    figure = _figure(10, 4.2)
    rates, latencies = figure.subplots(1, 2)
    colours = [COLOURS[version] for version in versions]
    bars = rates.bar(versions, [result.loads[version].rate for version in versions], color=colours)
    rates.bar_label(bars, [_rate(result.loads[version].rate) for version in versions])
    _describe(rates, "requests/s (more is better)", logarithmic=True)
    for number, (name, shade) in enumerate(SHADES.items()):
        heights = [getattr(result.loads[version], f"{name}_ms") for version in versions]
        places = [place + (number - 1) * 0.27 for place in range(len(versions))]
        bars = latencies.bar(places, heights, width=0.25, color=colours, alpha=shade)
        latencies.bar_label(bars, [f"{name}\n{_milliseconds(height)}" for height in heights], fontsize=8)
    latencies.set_xticks(range(len(versions)), versions)
    _describe(latencies, "latency in ms (less is better)", logarithmic=True)
    figure.suptitle(f"Mimic on {result.store}: {result.messages:,} messages, {result.users} users")
    return figure


def picture_of_sizes(sizes: Sizes) -> "Figure":
    """Requests per second, latencies and seeding against the size of the dump."""
    versions = _versions(sizes.results[0])
    figure = _figure(13, 4.2)
    panels: Mapping[str, Callable[[Result, str], float]] = {
        "requests/s": lambda result, version: result.loads[version].rate,
        "p99 in ms": lambda result, version: result.loads[version].p99_ms,
        "seeding, MB/s": lambda result, version: result.seedings[version].megabytes_per_second,
    }
    megabytes = [result.dump_bytes / 1e6 for result in sizes.results]
    for axes, (title, value) in zip(figure.subplots(1, len(panels)), panels.items(), strict=True):
        for version in versions:
            values = [value(result, version) for result in sizes.results]
            axes.plot(megabytes, values, LINES[version], marker="o", label=version, color=COLOURS[version])
        axes.set_xscale("log")
        axes.set_xticks(megabytes, [f"{size:,.0f}" for size in megabytes], minor=False)
        axes.minorticks_off()
        axes.set_xlabel("MB of the dump")
        axes.legend()
        _describe(axes, title, logarithmic=not title.startswith("seeding"))
    figure.suptitle(f"Mimic on {sizes.results[0].store}: cost against size")
    return figure


def summary(soak: Soak) -> str:
    """A soak in a few sentences, one a line."""
    answers, wrong = (sum(getattr(sample, name) for sample in soak.samples) for name in ("answers", "wrong"))
    slowest, minutes = max(sample.p99_ms for sample in soak.samples), soak.samples[-1].seconds / 60
    first, last = (sum(soak.samples[index].memory_bytes.values()) / 1e6 for index in (0, -1))
    return (
        f"{soak.store}, {soak.dump}, {soak.workers} workers: {minutes:.0f} minutes at {soak.rate:,.0f} of "
        f"{soak.peak:,.0f} requests/s, {soak.seedings} seedings meanwhile.\n{answers:,} answers, {wrong:,} wrong; the "
        f"highest p99 of an interval {_milliseconds(slowest)} ms; memory of the workers {first:,.0f} MB at first, "
        f"{last:,.0f} MB in the end.\n{soak.at}.\n"
    )


def picture_of_soak(soak: Soak) -> "Figure":
    """Memory, handles, requests per second and p99 over time; the times of seedings are grey."""
    figure = _figure(13, 6.5)
    minutes = [sample.seconds / 60 for sample in soak.samples]
    pids = sorted({pid for sample in soak.samples for pid in sample.memory_bytes})
    memory, handles, rate, slow = figure.subplots(2, 2).flat
    for pid in pids:
        memory.plot(minutes, [sample.memory_bytes.get(pid, 0) / 1e6 for sample in soak.samples], label=f"worker {pid}")
        handles.plot(minutes, [sample.handles.get(pid, 0) for sample in soak.samples], label=f"worker {pid}")
    rate.plot(minutes, [sample.rate for sample in soak.samples], color=COLOURS["v3"])
    slow.plot(minutes, [sample.p99_ms for sample in soak.samples], label="p99", color=COLOURS["v3"])
    slow.plot(minutes, [sample.p50_ms for sample in soak.samples], label="p50", color=COLOURS["v2"])
    titles = {memory: "memory in MB", handles: "open files", rate: "requests/s", slow: "latency in ms"}
    for axes, title in titles.items():
        for began, sample in zip([0.0, *minutes], soak.samples, strict=False):
            if sample.is_seeding:
                axes.axvspan(began, sample.seconds / 60, color="#eeeeee", linewidth=0)
        axes.set_xlabel("minutes")
        _describe(axes, title, logarithmic=axes is slow)
    for axes in (memory, slow):
        axes.legend()
    figure.suptitle(f"Mimic on {soak.store}: half of its peak load, seeded anew again and again")
    return figure


def _figure(width: float, height: float) -> "Figure":
    """Return an empty figure, with its size in inches."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - takes half a second to load

    return Figure(figsize=(width, height), layout="constrained")


def _describe(axes: "Axes", title: str, *, logarithmic: bool) -> None:
    axes.set_title(title)
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(y=0.15)
    if logarithmic:
        axes.set_yscale("log")
        axes.set_ylabel("logarithmic")
    else:
        axes.set_ylim(bottom=0)
