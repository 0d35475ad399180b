"""`tentpole pool fetch | run | report`: the database benchmark, one command each."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from tentpole.benchmarks.pool.filters import ENERGY
from tentpole.benchmarks.pool.table import Pool
from tentpole.cli.printing import PlainConsole
from tentpole.errors import InputError

pool_app = typer.Typer(
    name="pool",
    help="The database benchmark: which rule learns a pool of materials with the fewest labels.",
    no_args_is_help=True,
)


@pool_app.command()
def fetch(
    out: Annotated[Path, typer.Option(help="the pool: .h5 (with structures) or .csv")],
    elements: Annotated[str, typer.Option(help="materials that contain all of these: Si, or Ti,O")] = "",
    chemsys: Annotated[str, typer.Option(help="materials of these elements and no others: Ti-O")] = "",
    mp: Annotated[int, typer.Option(help="rows of the Materials Project (key from MP_API_KEY)")] = 0,
    oqmd: Annotated[int, typer.Option(help="rows of OQMD")] = 0,
    optimade: Annotated[int, typer.Option(help="rows of an OPTIMADE service")] = 0,
    service: Annotated[str, typer.Option(help="which: oqmd, alexandria, or an address")] = "oqmd",
    table: Annotated[
        list[Path] | None, typer.Option(help="rows of a file: csv, json, extxyz, h5 (.gz of text); repeatable")
    ] = None,
    align: Annotated[bool, typer.Option(help="shift the other databases' energies onto the first one's")] = False,
    filters: Annotated[bool, typer.Option(help="the study's filters, each with its count")] = True,
    cache: Annotated[Path | None, typer.Option(help="where pages are kept [~/.cache/tentpole/pool]")] = None,
    refresh: Annotated[bool, typer.Option(help="fetch pages anew that the cache holds")] = False,
    mp_endpoint: Annotated[str, typer.Option(hidden=True)] = "",
    oqmd_endpoint: Annotated[str, typer.Option(hidden=True)] = "",
) -> None:
    """Fetch a pool from databases and files, filter it, and write it with its provenance."""
    from tentpole.benchmarks.pool import files
    from tentpole.benchmarks.pool import sources as db
    from tentpole.benchmarks.pool.filters import Filters, apply, mix

    ending = files.suffix(out)
    if ending not in files.WRITERS:
        raise InputError(f'--out {out}: a pool is written as {", ".join(files.WRITERS)}, not as "{ending}".')
    if elements and chemsys:
        raise InputError("--elements and --chemsys were both given. Legal is one: containing, or exactly.")
    if not (mp or oqmd or optimade or table):
        raise InputError("nothing to fetch: give --mp 500, --oqmd 100, --optimade 100 or --table FILE.")
    symbols = tuple(s.strip() for s in (chemsys.split("-") if chemsys else elements.split(",")) if s.strip())
    pages = db.PageCache(cache or db.default_cache(), refresh)
    pools = []
    with progress("fetching") as show:
        for limit, get in (
            (mp, partial(db.fetch_mp, endpoint=mp_endpoint or db.MP_ENDPOINT)),
            (oqmd, partial(db.fetch_oqmd, endpoint=oqmd_endpoint or db.OQMD_ENDPOINT)),
            (optimade, partial(db.fetch_optimade, service=service)),
        ):
            if limit:
                query = db.Query(symbols, bool(chemsys), limit)
                pools.append(get(query, pages, on_progress=lambda _, done, total: show(done, total)))
    for path in table or []:
        pools.append(db.fetch_table(path))
        if filters:
            _check_formulas(pools[-1], path)
    kept = []
    for one in pools:
        if len(one) == 0:
            raise InputError(f"no material matches {elements or chemsys}. Ask for other elements.")
        typer.echo(f"{one.text('database')[0]}:")
        filtered, lines = apply(one, Filters()) if filters else (one, [f"{len(one)} rows, not filtered"])
        for line in lines:
            typer.echo(f"  {line}")
        kept.append(filtered)
    whole, notes = mix(kept, align)
    for note in notes:
        typer.echo(note)
    files.write(whole, out)
    with_structure = sum(s is not None for s in whole.structures or ())
    typer.echo(f"{out}: {len(whole)} rows, {with_structure} with structure, {len(whole.columns)} columns")


@pool_app.command()
def run(
    pool: Annotated[Path, typer.Argument(help="a pool: h5, csv, json or extxyz (.gz of text)")],
    out: Annotated[Path, typer.Option(help="folder of the results; the same command goes on after a stop")],
    target: Annotated[str, typer.Option(help="the column to learn")] = ENERGY,
    features: Annotated[
        str, typer.Option(help="leak-free, paper, composition, gom, columns; several joined by +")
    ] = "leak-free",
    model: Annotated[str, typer.Option(help="networks, forest or gaussian-process")] = "networks",
    rules: Annotated[str, typer.Option(help="selection rules, random among them")] = "",
    seeds: Annotated[int, typer.Option(help="how many seeds; more can be added later")] = 10,
    first_seed: Annotated[int, typer.Option(help="the first one")] = 0,
    initial: Annotated[int, typer.Option(help="random labels to begin with")] = 30,
    batch: Annotated[int, typer.Option(help="labels a round")] = 15,
    labels: Annotated[int, typer.Option(help="labels at the end")] = 105,
    against: Annotated[Path | None, typer.Option(help="another pool: test on it too, and the other way")] = None,
    align: Annotated[bool, typer.Option(help="shift the other pool's energies onto this one's")] = False,
    title: Annotated[str, typer.Option(help="the pool's name in tables [its file's]")] = "",
    filters: Annotated[bool, typer.Option(help="apply the study's filters first, each with its count")] = False,
    workers: Annotated[int, typer.Option(help="processes, a seed each [cores]")] = 0,
) -> None:
    """Run the selection rules over a pool: same splits and first labels for all, several seeds."""
    from dataclasses import replace

    from tentpole.benchmarks.pool import files, runner
    from tentpole.benchmarks.pool.benchmark import BenchmarkProtocol
    from tentpole.benchmarks.pool.filters import SCALES, Filters, aligned, apply
    from tentpole.benchmarks.pool.tables import comparisons, sentences, terminal

    chosen = tuple(r.strip() for r in rules.split(",") if r.strip()) if rules else runner.RULES

    def load(path: Path) -> Pool:
        table = files.read(path)
        if filters or {"leak-free", "paper", "composition"} & {word.strip() for word in features.split("+")}:
            _check_formulas(table, path)
        if not filters:
            return table
        table, lines = apply(table, Filters())
        for line in (f"{path.name}:", *(f"  {line}" for line in lines)):
            typer.echo(line)
        return table

    one, other = load(pool), load(against) if against else None
    settings = runner.Settings(
        title or pool.name.split(".")[0],
        target,
        features,
        model,
        chosen,
        BenchmarkProtocol(0.2, initial, batch, labels),
    )
    if other is not None and target == ENERGY:
        other, note = aligned(one, other) if align else (other, SCALES)
        typer.echo(note)
    ways: list[tuple[Pool, Pool | None, runner.Settings, Path]] = [(one, other, settings, out)]
    if against is not None and other is not None:
        back = replace(settings, title=f"{title}, the other way" if title else against.name.split(".")[0])
        ways.append((other, one, back, out / "reverse"))
    for table, second, how, folder in ways:
        with progress(how.title) as show:
            results = runner.run(
                table,
                how,
                folder,
                range(first_seed, first_seed + seeds),
                against=second,
                workers=workers or os.cpu_count() or 1,
                on_progress=show,
            )
        for note in results.about["notes"]:
            typer.echo(note)
        for warning in results.about["suspicious"]:
            typer.echo(f"warning: {warning} correlates with the target so strongly that it may contain it")
        if len(results.seeds) > 1 and "random" in how.rules:
            rows = comparisons(results)
            typer.echo(terminal(rows))
            for sentence in sentences(results, rows):
                typer.echo(sentence)
    page = f"figures and one page: tentpole pool report {out}" if len(results.seeds) > 1 else "a page takes two seeds"
    typer.echo(f"results: {out}; {page}")


@pool_app.command()
def report(
    folders: Annotated[list[Path], typer.Argument(help="folders that `tentpole pool run` made")],
    out: Annotated[Path | None, typer.Option(help="where to write [the first folder]/report")] = None,
) -> None:
    """Learning curves, tables (CSV, Markdown) and one self-contained HTML page of one or several benchmarks."""
    from tentpole.benchmarks.pool.page import write_report

    for path in write_report(folders, out or folders[0] / "report"):
        typer.echo(str(path))


def _check_formulas(pool: Pool, path: Path) -> None:
    from tentpole.benchmarks.pool.composition import check_formulas

    if "formula" in pool:
        check_formulas(pool.text("formula"), str(path))


@contextmanager
def progress(title: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on stderr with the time left; gives the function that moves it: show(done, total)."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=PlainConsole(stderr=True), transient=True) as bar:
        line = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(line, completed=done, total=total)
