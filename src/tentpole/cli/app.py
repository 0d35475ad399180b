"""The command `tentpole`.

Exit status: 0 done or a verdict reached, 2 bad input, 3 stopped without a verdict or with structures that failed, 130
Ctrl-C, with everything saved; of `ask` alone 4: there is nothing to label, the campaign has its verdict.
"""

from __future__ import annotations

import atexit
import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from rich.table import Table
from rich.text import Text

import tentpole
from tentpole.cli.pool import pool_app
from tentpole.cli.printing import PlainConsole, in_any_locale, marked, plural
from tentpole.cli.status import in_meV
from tentpole.errors import InputError, MachineError, StateError, TentpoleError, of_system, unknown
from tentpole.execution.worker import end_workers

if TYPE_CHECKING:
    from tentpole.campaign import CampaignRecord
    from tentpole.cli.files import Counts
    from tentpole.cli.progress_bars import Screen

CAMPAIGN, STEPS, STUDIES = "Campaign", "Single steps", "Studies"  # the groups of `tentpole --help`
HELP = {"help_option_names": ["-h", "--help"]}

app = typer.Typer(
    no_args_is_help=True,
    context_settings=HELP,
    pretty_exceptions_enable=False,
    help="Active learning of interatomic potentials inside ASE: few labels, each where it counts.",
)
models_app = typer.Typer(
    no_args_is_help=True, context_settings=HELP, help="Models of others: bring them into Tentpole's safe format."
)
app.add_typer(models_app, name="models", rich_help_panel=STEPS)
app.add_typer(pool_app, name="pool", context_settings=HELP, rich_help_panel=STUDIES)

out = PlainConsole()
err = PlainConsole(stderr=True)

Dir = Annotated[Path | None, typer.Option("--dir", help="The campaign's folder. Default: runs/<name>.")]
CampaignFile = Annotated[Path, typer.Argument(help="A campaign file (TOML), or a campaign folder to go on with.")]
Folder = Annotated[Path, typer.Argument(help="A campaign folder.")]


STOPPED = "\nStopped. Everything so far is saved; the same command goes on."


class Stopped(BaseException):
    """SIGTERM: a queue system takes its machine back. As KeyboardInterrupt, it is no failure of what is under way."""


def main() -> NoReturn:
    """Entry point: run the command, and end with its status."""
    _leave(exit_status())


def exit_status() -> int:
    """Run the command and turn errors into messages; the exit status."""
    signal.signal(signal.SIGTERM, _stop)
    in_any_locale()
    # workers end without clean-up on purpose; Python's tracker would report the progress-bar lock of a library
    os.environ.setdefault("PYTHONWARNINGS", "ignore::UserWarning:multiprocessing.resource_tracker")
    try:
        # the status of a typer.Exit, or what a command returned: nothing
        status = app(prog_name="tentpole", standalone_mode=False)
    except TentpoleError as error:
        _say(str(error))
        return 2 if isinstance(error, (InputError, StateError)) and not isinstance(error, MachineError) else 3
    except OSError as error:
        if not of_system(error):
            err.print_exception()
            return 3
        _say(of_system(error))
        return 2
    except (KeyboardInterrupt, typer.Abort):
        _interrupted()
    except Stopped:
        err.print("\nAsked to stop (SIGTERM). Everything so far is saved; the same command goes on.")
        return 3
    except Exception as error:
        if type(error).__module__.startswith(("typer", "click")):  # wrong use of the command line
            _say_usage(error)
            return 2
        err.print_exception()
        err.print("\nStopped by an unexpected error. Everything so far is saved; the same command goes on.")
        return 3
    if status == 130:
        _interrupted()
    return status or 0


def _interrupted() -> NoReturn:
    """End after Ctrl-C, without waiting for anything: all is saved."""
    err.print(STOPPED)
    end_workers()
    _leave(130, at_once=True)


def _leave(status: int, *, at_once: bool = False) -> NoReturn:
    """End now, without taking down what was imported: with torch that is seconds before the prompt is back.

    What was registered for the end is done unless `at_once`.
    """
    if not at_once:
        atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # a pipe whose reader has gone, a stream that is closed
            stream.flush()
    os._exit(status)


def _impatient(_number: int, _frame: FrameType | None) -> None:
    """A second Ctrl-C."""
    os.write(2, b"\n")
    end_workers()
    os._exit(130)


def _stop(_number: int, _frame: FrameType | None) -> None:
    raise Stopped


def _say_wrapped(words: str | Text) -> None:
    """Print sentences: between words on a terminal, in lines as long as they are for programs."""
    out.print(words, soft_wrap=not out.is_terminal)


def _say(words: str) -> None:
    err.print(marked("error:", "bold red", f" {words}"), soft_wrap=True)


def _say_usage(error: Exception) -> None:
    """What is wrong with the words of the command, and which help has the right ones."""
    words = str(getattr(error, "format_message", error.__str__)())
    parameter = getattr(error, "param", None)
    if parameter is not None and words.startswith("Missing"):
        name = parameter.opts[0] if parameter.opts[0].startswith("-") else parameter.name.upper()
        words = f"{name} is missing. {getattr(parameter, 'help', None) or ''}"
    if not words:  # the help has just been printed: a command without its words
        return
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "tentpole"
    _say(f"{words} See: {command} --help")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"tentpole {tentpole.__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Say which it is.")] = (
        False
    ),
) -> None:
    """Active learning of interatomic potentials inside ASE: few labels, each where it counts."""


@app.command(rich_help_panel=CAMPAIGN)
def init(
    structures: Annotated[list[Path], typer.Argument(help="Files with starting structures, as ASE reads them.")],
    reference: Annotated[
        str | None, typer.Option(help="The method that labels: a name from `tentpole references`, or a TOML file.")
    ] = None,
    charge: Annotated[
        list[int] | None, typer.Option(help="Total charge in e, of all structures, or once per structure.")
    ] = None,
    multiplicity: Annotated[
        list[int] | None, typer.Option(min=1, help="2S + 1, of all structures, or once per structure.")
    ] = None,
    out_file: Annotated[Path, typer.Option("--out", help="Campaign file to write.")] = Path("campaign.toml"),
) -> None:
    """Write a commented campaign file to start from, its sizes proposed from the structures."""
    from tentpole.cli.progress_bars import Screen

    if out_file.exists():
        raise InputError(f"{out_file}: is there already: name another file with --out")
    with Screen(out) as screen:
        screen.progress("reading the structures", 0, 0)
        from tentpole.config.proposal import missing_physics, propose
        from tentpole.storage.atomic import atomic_write

        missing = missing_physics(structures, reference)
    stated = {"charge": charge or [], "multiplicity": multiplicity or []}
    for word in missing:
        if not stated[word] and not sys.stdin.isatty():
            raise InputError(f"the reference needs the {word}, which has no default: say --{word} {_ASK[word][1]}")
        if not stated[word]:
            stated[word] = [typer.prompt(f"{word} ({_ASK[word][0]})", type=int)]
    atomic_write(out_file, propose(structures, out_file, reference, stated["charge"], stated["multiplicity"]).encode())
    out.print(f"{out_file}: read it, then: tentpole check {out_file}", soft_wrap=True)


_ASK = {
    "charge": ("the total charge in e, 0 for a neutral structure", "0 for a neutral structure"),
    "multiplicity": ("2S + 1, 1 for a closed shell", "1 for a closed shell"),
}


@app.command(rich_help_panel=CAMPAIGN)
def check(campaign: CampaignFile) -> None:
    """Validate a campaign file, then prove that it can run: reference on one structure, models, workers, disk."""
    from tentpole.cli.progress_bars import Screen

    good, doubts = True, 0
    with Screen(out) as screen, _on_interrupt(f"tentpole check {campaign}"):
        screen.progress("reading the campaign", 0, 0)
        from tentpole.campaign.preflight import check_campaign

        for line in check_campaign(campaign, screen):
            good &= line.good
            doubts += line.good and line.doubtful
            mark = ("FAIL", "red") if not line.good else ("warn", "yellow") if line.doubtful else ("ok  ", "green")
            _say_wrapped(marked(*mark, f" {line.what}: {line.found}"))
    if not good:
        raise typer.Exit(2)
    warned = "" if not doubts else "1 warning. " if doubts == 1 else f"{doubts} warnings. "
    out.print(f"{warned}It can run: tentpole run {campaign}", soft_wrap=True)


@app.command(rich_help_panel=CAMPAIGN)
def run(
    campaign: CampaignFile,
    place: Dir = None,
    labels_from: Annotated[
        Path | None,
        typer.Option("--labels-from", help="Folder of another campaign whose labels, of the same reference, are kept."),
    ] = None,
) -> None:
    """Start a campaign, or go on with it, until there is a verdict."""
    from tentpole.cli.opening import first_line
    from tentpole.cli.progress_bars import Screen

    _say_wrapped(first_line(campaign, place))
    again = f"tentpole run {campaign}" + (f" --dir {place}" if place else "")
    with _on_interrupt(again), Screen(out) as screen:
        screen.progress("reading the campaign", 0, 0)
        folder = _to_a_verdict(campaign, place, labels_from, screen)
    record = _record(folder)
    from tentpole.cli.status import print_status

    print_status(out, record)
    out.print(f"A page to look at: tentpole report {folder}", soft_wrap=True)


def _to_a_verdict(campaign: Path, place: Path | None, labels_from: Path | None, screen: Screen) -> Path:
    """Run a campaign to its verdict. Returns its folder."""
    from tentpole.campaign import Campaign

    with Campaign(campaign, place, progress=screen) as live:
        folder = live.folder
        if labels_from is not None:
            kept, others = live.carry_labels(labels_from)
            left = f"; {others} of other references stay there" if others else ""
            words = (
                f"{labels_from}: {kept} labels of this reference taken over{left}. What is asked of them is not "
                f"computed again. To train on all of them: tentpole export {labels_from} --out DIR, then "
            )
            out.print(words + '[initial] kind = "labelled"', soft_wrap=True)
        live.run()
    return folder


@app.command(rich_help_panel=CAMPAIGN)
def ask(
    campaign: CampaignFile,
    asked: Annotated[Path, typer.Option("--out", help="Folder for the structures, a file of extended XYZ for each.")],
    place: Dir = None,
) -> None:
    """Write the structures that want a label, for programs of your own; trains and explores first where that is next.

    Exit status 0: there are structures to label; 4: there is a verdict, and nothing to label.
    """
    from tentpole.cli.ask_tell import write_asked
    from tentpole.cli.progress_bars import Screen

    with _on_interrupt("the same command"), Screen(out) as screen:
        from tentpole.campaign import Campaign

        with Campaign(campaign, place, progress=screen) as live:
            requests, verdict, number = live.ask(), live.verdict, live.round
            write_asked(requests, asked)
    if verdict is not None and not requests:
        out.print(f"{verdict.kind}: {verdict.reason}", soft_wrap=True)
        raise typer.Exit(4)
    out.print(f"round {number}: {plural(len(requests), 'structure')} to label in {asked}", soft_wrap=True)


@app.command(rich_help_panel=CAMPAIGN)
def tell(
    folder: Folder,
    files: Annotated[
        list[Path] | None, typer.Argument(help="Labelled structures, in any format of ASE with energy and forces.")
    ] = None,
    failed: Annotated[
        list[str] | None, typer.Option(help="A structure that gets no label: NAME=REASON. May be given many times.")
    ] = None,
) -> None:
    """Tell a campaign the labels of the structures that it asked for."""
    from tentpole.campaign import Campaign
    from tentpole.cli.ask_tell import tell_files

    if not files and not failed:
        raise InputError("tell: nothing is told. Name files with labels, or --failed NAME=REASON")
    with Campaign(folder) as live:
        labels, failures, waiting = tell_files(live, files or [], failed or [])
    told = f"{plural(labels, 'label')}" + (f" and {plural(failures, 'failure')}" if failures else "")
    out.print(f"{told} told, {waiting} still to come", soft_wrap=True)


@app.command(rich_help_panel=CAMPAIGN)
def status(
    folder: Folder,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
    watched: Annotated[bool, typer.Option("--watch", help="Print it again and again while a driver works.")] = False,
    every: Annotated[float, typer.Option(min=0.5, max=3600, help="Seconds between two looks with --watch.")] = 5.0,
    every_round: Annotated[bool, typer.Option("--every-round", help="Show all rounds where they are many.")] = False,
) -> None:
    """Where a campaign stands: what it is at, rounds, errors, labels, time, verdict."""
    record = _record(folder, silent=as_json)
    from tentpole.cli.status import print_status, watch

    if as_json:
        typer.echo(json.dumps(record.to_json(), indent=1))
    elif watched:
        with suppress(KeyboardInterrupt):
            watch(out, folder, every)
    else:
        print_status(out, record, every_round=every_round)


def _record(folder: Path, *, silent: bool = False) -> CampaignRecord:
    """What the folder holds; something moves on the screen while it is read."""
    from tentpole.cli.progress_bars import Screen

    with Screen(PlainConsole(stderr=True) if silent else out) as screen:
        if not silent:
            screen.progress("reading the campaign", 0, 0)
            from tentpole.report import standing as _words_of_what_is_printed

            del _words_of_what_is_printed
        from tentpole.campaign import CampaignRecord

        return CampaignRecord.read(folder)


@app.command(rich_help_panel=CAMPAIGN)
def retry(
    folder: Folder,
    reason: Annotated[
        str | None, typer.Option(help="Only those with this reason, such as crashed. Default: all.")
    ] = None,
) -> None:
    """Take structures out of quarantine, so that `tentpole run` labels them again. Only in rounds that are open."""
    from tentpole.campaign.retry import retry_failed

    retried, too_late = retry_failed(folder, reason)
    for name, words in too_late:
        out.print(f"{name}: {words}", soft_wrap=True)
    out.print(f"{len(retried)} structures are to be labelled again, {len(too_late)} are not.")
    if retried:
        out.print(f"To go on: tentpole run {folder}", soft_wrap=True)


@app.command(rich_help_panel=CAMPAIGN)
def report(
    folder: Folder, out_dir: Annotated[Path | None, typer.Option("--out", help="Folder to write to.")] = None
) -> None:
    """One self-contained HTML page, and its figures as PNG beside it."""
    from tentpole.cli.progress_bars import Screen

    with Screen(out) as screen, _on_interrupt(f"tentpole report {folder}"):
        screen.progress("reading the campaign", 0, 0)
        from tentpole.report import write_report

        page = write_report(folder, out_dir, screen)
    out.print(f"{page}", soft_wrap=True)


@app.command(rich_help_panel=CAMPAIGN)
def explain(folder: Folder, snapshot: Annotated[str, typer.Argument(help="Its id, as in r003-w02-000150.")]) -> None:
    """Say why a frame was labelled, or was not."""
    from tentpole.report import explain as explain_snapshot

    _say_wrapped(explain_snapshot(folder, snapshot))


@app.command(rich_help_panel=STEPS)
def score(
    structures: Annotated[Path, typer.Argument(help="Any file that ASE reads.")],
    models: Annotated[list[Path], typer.Option("--models", help="A campaign folder, a models folder, or members.")],
    out_file: Annotated[Path, typer.Option("--out", help="Extended XYZ to write.")],
    dataset: Annotated[
        Path | None, typer.Option("--dataset", help="Labelled frames; the gain is what a structure would add to them.")
    ] = None,
    fingerprint: Annotated[
        list[str] | None,
        typer.Option(
            help="KEY=VALUE of a campaign file's fingerprint table: --fingerprint contrast=3. May be given many times."
        ),
    ] = None,
    baseline: Annotated[
        str | None, typer.Option(help="What the members learned the difference to: a name, or a reference file.")
    ] = None,
    dtype: Annotated[
        str | None, typer.Option(help="float64 or float32, of predictions; that of the members' files by default.")
    ] = None,
) -> None:
    """Disagreement and gain of any structures: σ_E, σ_F, max σ_F and gain in each frame's info."""
    from tentpole.cli.progress_bars import Screen

    with Screen(out) as screen, _on_interrupt("the same command"):
        screen.progress("reading models and structures", 0, 0)
        from tentpole.cli.files import score_file, settings_of

        like = settings_of(fingerprint or [], "--fingerprint")
        counts = score_file(structures, list(models), dataset, out_file, like, screen, baseline, dtype)
    _print_counts("scored", counts, out_file)
    if counts.failed and not counts.done:
        raise typer.Exit(3)


@app.command(rich_help_panel=STEPS)
def select(
    structures: Annotated[Path, typer.Argument(help="Frames with scores, as `tentpole score` writes them.")],
    out_file: Annotated[Path, typer.Option("--out", help="Extended XYZ to write.")],
    dataset: Annotated[Path | None, typer.Option("--dataset", help="Frames that have labels already.")] = None,
    rule: Annotated[
        str, typer.Option(help="random, uncertainty, diversity, hybrid, logdet, two_key, adaptive or gradient.")
    ] = "two_key",
    count: Annotated[int, typer.Option(min=1, help="Largest number of frames to select.")] = 20,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="A setting of the rule: --set shortlist=5")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the random numbers that the rule draws.")] = 0,
    sigma: Annotated[
        str, typer.Option(help="Which σ of a frame: mean, max, p95, or auto: p95 above 50 atoms.")
    ] = "auto",
    fingerprint: Annotated[
        list[str] | None,
        typer.Option(
            help="KEY=VALUE of a campaign file's fingerprint table: --fingerprint contrast=3. May be given many times."
        ),
    ] = None,
    models: Annotated[
        list[Path] | None, typer.Option("--models", help="The committee whose features --fingerprint kind=mace takes.")
    ] = None,
) -> None:
    """The frames worth a label by one rule, in order, each with the reason."""
    from tentpole.cli.progress_bars import Screen

    with Screen(out) as screen, _on_interrupt("the same command"):
        screen.progress("reading structures", 0, 0)
        from tentpole.cli.files import select_file, settings_of

        words = settings_of(settings or [])
        counts = select_file(
            structures,
            dataset,
            out_file,
            rule=rule,
            count=count,
            settings=words,
            seed=seed,
            sigma=sigma,
            fingerprint=settings_of(fingerprint or [], "--fingerprint"),
            models=models or [],
            progress=screen,
        )
    _print_counts("selected", counts, out_file)
    if not counts.done:
        out.print("No frame is worth a label by this rule; no file was written.")


@app.command(rich_help_panel=STEPS)
def label(
    structures: Annotated[Path, typer.Argument(help="Any file that ASE reads.")],
    reference: Annotated[str, typer.Option(help="A name from `tentpole references`, or a TOML file of yours.")],
    out_file: Annotated[Path, typer.Option("--out", help="Extended XYZ to write.")],
    charge: Annotated[
        int | None, typer.Option(help="Total charge in e of frames that have no `charge` of their own.")
    ] = None,
    multiplicity: Annotated[
        int | None, typer.Option(min=1, help="2S + 1 of frames that have no `multiplicity` of their own.")
    ] = None,
    moments: Annotated[
        str | None, typer.Option(help='µB that each SCF starts from: "Fe=2.5,O=0.1" or "from structure".')
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Labels computed at the same time. Default: one per core.")
    ] = None,
    place: Annotated[
        Path | None, typer.Option("--dir", help="Folder that keeps the labels. Default: <out>-labels.")
    ] = None,
) -> None:
    """Label structures with a reference method on this machine. Resumable: no label is computed twice."""
    from tentpole.cli.files import label_file
    from tentpole.cli.progress_bars import Screen

    folder = place or out_file.with_name(f"{out_file.stem}-labels")
    with Screen(out) as screen, _on_interrupt("the same command"):
        counts = label_file(
            structures,
            reference,
            out_file,
            folder=folder,
            charge=charge,
            multiplicity=multiplicity,
            moments=moments,
            workers=workers,
            progress=screen,
        )
    _print_counts("labelled", counts, out_file)
    if counts.failed:
        out.print(f"The codes' own output: {folder / 'quarantine'}", soft_wrap=True)
        raise typer.Exit(3)


@app.command(rich_help_panel=STEPS)
def train(
    frames: Annotated[Path, typer.Argument(help="Labelled frames, energies and forces under any usual key.")],
    out_dir: Annotated[Path, typer.Option("--out", help="Folder to write the committee to.")],
    valid: Annotated[
        Path | None, typer.Option(help="Labelled frames to validate on. Default: every tenth of FRAMES.")
    ] = None,
    members: Annotated[int, typer.Option(min=2, max=64, help="Number of members, 2 or more.")] = 4,
    shallow: Annotated[bool, typer.Option("--shallow", help="Train one network with that many readout heads.")] = False,
    warm_start: Annotated[
        Path | None, typer.Option("--from", help="Folder of a committee whose weights to start from.")
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="A setting of the training: --set updates=600")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of initial weights and of batches.")] = 0,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Members trained at the same time. Default: one per core.")
    ] = None,
) -> None:
    """Train a committee on labelled frames. Resumable: members that are finished are kept."""
    from tentpole.cli.files import settings_of, train_files
    from tentpole.cli.progress_bars import Screen

    with Screen(out) as screen, _on_interrupt("the same command"):
        reports = train_files(
            frames,
            out_dir,
            valid=valid,
            members=members,
            shallow=shallow,
            warm_start=warm_start,
            settings=settings_of(settings or []),
            seed=seed,
            workers=workers,
            progress=screen,
        )
    for report in reports:
        errors = f"{in_meV(report.force_rmse)} meV/Å, {in_meV(report.energy_rmse)} meV/atom"
        out.print(f"member {report.member}: {errors} on the frames held back, {report.seconds:.0f} s")
    out.print(f"{out_dir}", soft_wrap=True)


@app.command(rich_help_panel=STEPS)
def references(name: Annotated[str | None, typer.Argument(help="Print the file of this one.")] = None) -> None:
    """List the reference methods that Tentpole ships, or show the file of one: `tentpole references xtb > my.toml`."""
    from tentpole.labeling import references as known

    if name is not None:
        typer.echo(
            Path(known.load(name).source).read_text(encoding="utf-8"), nl=False
        )  # as it is: `> my.toml` is a file to edit
        return
    table = Table("name", "what", "requires")
    for key in known.available():
        reference = known.load(key)
        table.add_row(key, reference.description, ", ".join(reference.requires) or "-")
    out.print(table)


@app.command(rich_help_panel=CAMPAIGN)
def export(
    folder: Folder,
    out_dir: Annotated[Path, typer.Option("--out", help="Folder to write to.")],
    lammps: Annotated[
        bool, typer.Option("--lammps", help="Each member for LAMMPS's pair_style mace and mliap too.")
    ] = False,
) -> None:
    """The dataset as extended XYZ, and the newest models for ASE and LAMMPS."""
    from tentpole.cli.progress_bars import Screen

    with Screen(out) as screen, _on_interrupt(f"tentpole export {folder} --out {out_dir}"):
        screen.progress("reading labels and models", 0, 0)
        from tentpole.campaign.export import export as export_all

        made = export_all(folder, out_dir, lammps=lammps, progress=screen)
    for path in made.files:
        out.print(str(path), soft_wrap=True)
    for line in made.words:
        out.print(line, soft_wrap=True)


@app.command(rich_help_panel=CAMPAIGN)
def finish(
    folder: Folder,
    size: Annotated[
        str | None, typer.Option(help="Of the model: small, medium or mace. Default: the members'.")
    ] = None,
    out_dir: Annotated[
        Path | None, typer.Option("--out", help="Folder to write to. Default: production/ in the campaign's.")
    ] = None,
) -> None:
    """Train one production model on all labels to its plateau, with a card: data, physics, errors, limits."""
    from tentpole.campaign.finishing import finish_campaign
    from tentpole.cli.progress_bars import Screen

    with Screen(out) as screen, _on_interrupt("the same command"):
        card = finish_campaign(folder, out_dir, size=size, progress=screen)
    out.print(card.text, soft_wrap=True, markup=False)


@app.command(rich_help_panel=STUDIES)
def qbc(
    study: Annotated[Path, typer.Argument(help="A study's file (TOML).")],
    place: Annotated[
        Path | None, typer.Option("--dir", help="Folder of the study. Default: runs/<name of the file>.")
    ] = None,
    parallel: Annotated[
        int | None, typer.Option(min=1, help="Runs at the same time. Default: one per two cores.")
    ] = None,
) -> None:
    """Query by committee over a labelled set: rules against random, with learning curves. Resumable."""
    from tentpole.benchmarks.qbc import run
    from tentpole.benchmarks.qbc.config import read_study
    from tentpole.benchmarks.qbc.figures import draw
    from tentpole.benchmarks.qbc.summary import summarise
    from tentpole.cli.progress_bars import Screen
    from tentpole.storage.atomic import write_json

    settings, folder = read_study(study), place or Path("runs") / study.stem
    rounds = -(-(settings.maximum - settings.initial) // settings.batch) + 1
    total, done = rounds * len(settings.rules) * len(settings.seeds), 0
    with Screen(out) as screen, _on_interrupt(f"tentpole qbc {study}" + (f" --dir {place}" if place else "")):

        def told(name: str, seed: int, measures: dict[str, Any]) -> None:
            nonlocal done
            done += 1
            screen.note(f"{name}, seed {seed}: {measures['n']} frames, {1000 * measures['force_rmse']:.1f} meV/Å")
            screen.progress("rounds", done, total)

        run(settings, folder, parallel=parallel, on_round=told)
    facts = summarise(folder)
    write_json(folder / "summary.json", facts)
    _print_study(facts)
    for path in (draw(folder, folder / "curves.png"), folder / "summary.json"):
        out.print(f"{path}", soft_wrap=True)


@app.command(rich_help_panel=STUDIES)
def sampling(
    study: Annotated[Path, typer.Argument(help="A study's file (TOML).")],
    place: Annotated[
        Path | None, typer.Option("--dir", help="Folder of the study. Default: runs/<name of the file>.")
    ] = None,
    parallel: Annotated[
        int | None, typer.Option(min=1, help="Trajectories, labels or runs at the same time. Default: one per core.")
    ] = None,
) -> None:
    """Policies of making frames side by side: MD, choice, training, errors on test sets of all kinds. Resumable."""
    from tentpole.benchmarks.sampling import read_results, read_study, run, summarise, write_page
    from tentpole.cli.progress_bars import Screen

    folder = place or Path("runs") / study.stem
    with Screen(out) as screen, _on_interrupt(f"tentpole sampling {study}" + (f" --dir {place}" if place else "")):
        run(read_study(study), folder, parallel=parallel, progress=screen)
        screen.progress("page", 0, 0)
        results = read_results(folder)
        facts = summarise(results)
        written = write_page(folder, results, facts)
    _print_policies(facts)
    for path in written:
        out.print(f"{path}", soft_wrap=True)


@app.command(rich_help_panel=CAMPAIGN)
def keys(
    what: Annotated[str, typer.Argument(help='Of which file: "campaign", or "sampling", a study\'s.')] = "campaign",
) -> None:
    """Print every key of a campaign file or of a study's: default, legal values, meaning (Markdown)."""
    from tentpole.benchmarks.sampling.keys import study_keys_page
    from tentpole.config.keys import keys_page

    pages = {"campaign": keys_page, "sampling": study_keys_page}
    if what not in pages:
        raise unknown("file", what, pages)
    typer.echo(pages[what](), nl=False)


@app.command(rich_help_panel=CAMPAIGN)
def schema(
    what: Annotated[
        str, typer.Argument(help='"campaign", its file, or "status", what `status --json` prints.')
    ] = "campaign",
) -> None:
    """Print a JSON schema: of the campaign file, for editors, or of the status, for programs that read it."""
    from tentpole.campaign.status_schema import status_schema
    from tentpole.config.keys import json_schema

    schemas = {"campaign": json_schema, "status": status_schema}
    if what not in schemas:
        raise unknown("schema", what, schemas)
    typer.echo(json.dumps(schemas[what](), indent=1, ensure_ascii=False))


@models_app.command("import")
def import_model(
    file: Annotated[Path, typer.Argument(help="A MACE .model file (a pickle).")],
    out_stem: Annotated[
        Path | None, typer.Option("--out", help="Path of the two files to write, without their endings.")
    ] = None,
    trust: Annotated[
        bool, typer.Option("--trust", help="Reading a pickle runs the code in it: you trust its maker.")
    ] = False,
) -> None:
    """Turn a MACE pickle into safetensors + JSON, with the same predictions."""
    from tentpole.committee import import_model as convert

    made = convert(file, out_stem, trust=trust)
    for line in (
        f"{made}",
        "What it can do now:",
        f'  drive a campaign, or vote in it: [committee] driver = "mace-mp:{made}", voters = ["mace-mp:{made}"]',
        f'  be what members begin from: [pretraining] kind = "foundation", model = "{made}"',
    ):
        out.print(line, soft_wrap=True)


@contextmanager
def _on_interrupt(command: str) -> Iterator[None]:
    """Say how to go on when the work is interrupted."""
    try:
        yield
    except (KeyboardInterrupt, Stopped):
        signal.signal(signal.SIGINT, _impatient)
        out.print(f"\nTo go on: {command}", soft_wrap=True)
        raise


def _print_counts(done: str, counts: Counts, file: Path) -> None:
    out.print(f"{counts.done} frames {done}, {counts.failed} failed: {file}", soft_wrap=True)
    for reason, number in counts.reasons.items():
        out.print(f"  {number} x {reason}", soft_wrap=True)


def _print_study(facts: dict[str, Any]) -> None:
    table = Table(title="at the end of the curves, means over seeds", title_justify="left")
    table.add_column("rule", no_wrap=True)
    for heading in ("frames", "seeds", "force RMSE", "95th perc.", "rank corr.", "covered", "time"):
        table.add_column(heading, justify="right")
    for name, r in facts["rules"].items():
        share = "" if r["coverage"] is None else f"{r['coverage']:.0%}"
        seconds = "" if r["training_seconds"] is None else f"{r['training_seconds']:.0f} s"
        errors = (in_meV(r["force_rmse"]), in_meV(r["force_p95"]), f"{r['spearman_atoms']:.2f}")
        table.add_row(name, str(r["n"]), str(r["seeds"]), *errors, share, seconds)
    out.print(table)
    words = "meV/Å; rank correlation of σ and error over atoms; covered: promised 95 %; time of a training."
    out.print(words, style="dim")
    for r in facts["ratios"]:
        bounds = f"{r['low']:.2f} to {r['high']:.2f}, {r['seeds']} seeds" if r["seeds"] > 1 else "one seed"
        words = f"{r['measure']}, {r['what']}: {r['rule']} / {facts['baseline']} {r['ratio']:.2f} ({bounds})"
        out.print(words)
    for name, sizes in facts["stop"].items():
        labels = ", ".join("none yet" if n is None else str(n) for n in sizes.values())
        out.print(f"{name}: σ of the selected came down to that of the rest at {labels} frames")
    if any(r["alike"] for r in facts["rules"].values()):
        out.print("In some rounds members had become alike (summary.json): train a deep committee, from scratch.")


def _print_policies(facts: dict[str, Any]) -> None:
    from tentpole.benchmarks.sampling.tables import cut_short, errors_at_the_end, ratios_over_all

    for title, header, lines in (errors_at_the_end(facts), *ratios_over_all(facts)):
        table = Table(title=title, title_justify="left")
        table.add_column(header[0], no_wrap=True)
        for heading in header[1:]:
            table.add_column(heading, justify="right")
        for line in lines:
            table.add_row(*line)
        out.print(table)
    if words := cut_short(facts):
        out.print(words)


if __name__ == "__main__":
    main()
