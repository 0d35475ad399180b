"""Bad inputs: campaign files, structures, command lines, single steps of the loop on files."""

from __future__ import annotations

import copy
import gzip
import io
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tomli_w
from ase import Atoms
from ase.build import bulk
from ase.io import write
from attack_bench import V1, Box, Case, Command, tentpole

NAN, INF = float("nan"), float("inf")
BASE: dict[str, Any] = {
    "name": "tiny",
    "seed": 5,
    "reference": "mock",
    "structures": [{"file": "cu.xyz", "name": "cu"}],
    "stop": {"rounds": 0},
    "initial": {"kind": "rattle", "count": 3, "stdev_A": [0.05]},
    "explore": {"temperatures_K": [300.0], "steps": 10, "snapshot_every": 5, "bias": {"ratios": [0.0]}},
    "committee": {"members": 2},
    "training": {"kind": "mace", "channels": 4, "max_L": 0, "max_ell": 1, "correlation": 1, "r_max": 3.5, "updates": 2},
    "selection": {"rule": "uncertainty", "batch": 2},
    "executor": {"kind": "local", "workers": 1},
}


def xyz(*frames: Atoms) -> str:
    """Frames as extended XYZ."""
    out = io.StringIO()
    write(out, list(frames), format="extxyz")
    return out.getvalue()


def copper(**changes: Any) -> Atoms:
    """Four copper atoms; `changes` are attributes."""
    atoms = bulk("Cu", cubic=True)
    for name, value in changes.items():
        setattr(atoms, name, value)
    return atoms


def put(content: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    """`content` with the value at a dotted key; None takes it away."""
    whole = copy.deepcopy(content)
    place: Any = whole
    *way, last = key.split(".")
    for step in way:
        place = place[int(step)] if isinstance(place, list) else place.setdefault(step, {})
    if value is None:
        place.pop(last)
    else:
        place[int(last) if isinstance(place, list) else last] = value
    return whole


def campaign(box: Box, content: dict[str, Any] | str | bytes, structure: Atoms | None = None) -> Command:
    """The command that starts this campaign file, with its structure beside it."""
    box.file("cu.xyz", xyz(structure or copper()))
    box.file("c.toml", tomli_w.dumps(content) if isinstance(content, dict) else content)
    return ["run", "c.toml", "--dir", box.out("D")]


def _keys() -> Iterator[Case]:
    """One wrong value each. Wrong here means: no legal campaign can hold it."""
    huge = 2**70
    wrong: list[tuple[str, Any, tuple[str, ...]]] = [
        ("explore.steps", "many", ("explore.steps", "many")),
        ("explore.steps", 40.5, ("explore.steps", "40.5")),
        ("explore.steps", "40", ("explore.steps",)),
        ("explore.steps", True, ("explore.steps",)),
        ("explore.steps", -1, ("explore.steps", "-1")),
        ("explore.steps", 10**18, ("explore.steps",)),
        ("explore.steps", 2, ("snapshot_every",)),
        ("explore.temperatures_K", [], ("explore.temperatures_K",)),
        ("explore.temperatures_K", [NAN], ("explore.temperatures_K", "nan")),
        ("explore.temperatures_K", [INF], ("explore.temperatures_K", "inf")),
        ("explore.temperatures_K", [1e308], ("explore.temperatures_K",)),
        ("explore.temperatures_K", [-1.0], ("explore.temperatures_K", "-1")),
        ("explore.temperatures_K", [0.0], ("explore.temperatures_K",)),
        ("explore.temperatures_K", [300.0, 300.0], ("temperatures_K",)),
        ("explore.temperatures_K", 300.0, ("temperatures_K",)),
        ("explore.bias.ratios", [], ("ratios",)),
        ("explore.bias.ratios", [9.0], ("ratios", "9")),
        ("explore.bias.ratios", [-0.1], ("ratios",)),
        ("explore.bias.entropy", "logdte", ("entropy", "logdet")),
        ("explore.ensemble", {"kind": "langevin", "timestep_fs": 1e6}, ("timestep_fs",)),
        ("explore.ensemble", {"kind": "langevin", "timestep_fs": -1.0}, ("timestep_fs",)),
        ("explore.ensemble", {"kind": "langevni"}, ("langevin",)),
        ("explore.health", {"max_volume_ratio": NAN}, ("max_volume_ratio",)),
        ("explore.max_force_std_eV_per_A", 0.0, ("max_force_std_eV_per_A",)),
        ("explore.checkpoint_seconds", -5.0, ("checkpoint_seconds",)),
        ("explore.stepps", 5, ("stepps", "steps")),
        ("initial.stdev_A", [], ("stdev_A",)),
        ("initial.stdev_A", [1e9], ("stdev_A",)),
        ("initial.stdev_A", [-0.1], ("stdev_A",)),
        ("initial.count", 1, ("count",)),
        ("initial.count", 0, ("count", "0")),
        ("initial.count", 10**12, ("count",)),
        ("initial", {"kind": "rattel"}, ("rattle",)),
        ("initial", {"kind": "frames"}, ("file",)),
        ("initial", {"kind": "frames", "file": "nope.xyz"}, ("nope.xyz",)),
        ("initial", {"kind": "frames", "file": "cu.xyz"}, ("cu.xyz",)),  # one frame is no committee's start
        ("initial", {"kind": "frames", "file": "cu.xyz", "index": "::0"}, ("cu.xyz",)),
        ("initial", {"kind": "frames", "file": "cu.xyz", "index": "junk"}, ("cu.xyz",)),
        ("initial", {"kind": "frames", "file": "cu.xyz", "index": "99"}, ("cu.xyz",)),
        ("committee.members", 1, ("committee.members", "1")),
        ("committee.members", 100000, ("committee.members",)),
        ("committee.driver", True, ("driver",)),
        ("committee.driver", 7, ("driver", "7")),
        ("committee.driver", -1, ("driver",)),
        ("committee.driver", "os:system", ("os:system",)),
        ("committee.driver", "os:getcwd", ("os:getcwd",)),
        ("committee.driver", "cgnet", ("cgnet",)),
        ("committee.voters", [""], ("committee",)),
        ("committee.voters", [":"], ()),
        ("committee.voters", [":x"], (":x",)),
        ("committee.voters", ["no_such_package:Thing"], ("no_such_package",)),
        ("committee.dtype", "bfloat16", ("dtype",)),
        ("committee.kind", "shalow", ("shallow",)),
        ("seed", -1, ("seed", "-1")),
        ("seed", huge, ("seed",)),
        ("seed", 1.5, ("seed",)),
        ("seed", "5", ("seed",)),
        ("name", "..", ("name",)),
        ("name", ".", ("name",)),
        ("name", "../x", ("name", "../x")),
        ("name", "", ("name",)),
        ("name", "<script>", ("name",)),
        ("name", "a" * 300, ("name",)),
        ("name", ".hidden", ("name",)),
        ("name", 5, ("name",)),
        ("structures.0.name", "../../evil", ("../../evil",)),
        ("structures.0.name", "/tmp/evil", ("/tmp/evil",)),
        ("structures.0.name", "<b>", ("name",)),
        ("structures.0.name", "a\0b", ("name",)),
        ("structures.0.name", "a\nb", ("name",)),
        ("structures.0.name", "a" * 300, ("name",)),
        ("structures.0.name", "initial-frames", ("initial-frames",)),
        ("structures.0.name", "validation-frames", ("validation-frames",)),
        ("structures", [], ("structures",)),
        ("structures", [{"file": "cu.xyz", "name": name} for name in ("Cu", "cu")], ('"Cu" and "cu"',)),
        ("structures", "cu.xyz", ("structures", "cu.xyz")),
        ("structures", [{"file": "cu.xyz", "name": "a"}, {"file": "cu.xyz", "name": "a"}], ('"a"',)),
        ("structures.0.file", "nope.xyz", ("nope.xyz",)),
        ("structures.0.file", ".", ("structures",)),
        ("structures.0.file", "/dev/zero", ("/dev/zero",)),
        ("structures.0.file", "~nosuchuser/cu.xyz", ("nosuchuser",)),
        ("structures.0.file", "a\0b.xyz", ()),
        ("structures.0.index", 99, ("cu.xyz",)),
        ("structures.0.indx", 1, ("indx", "index")),
        ("stop", None, ("stop",)),
        ("stop", {}, ("stop",)),
        ("stop", {"hours": NAN}, ("stop.hours", "nan")),
        ("stop", {"hours": 0}, ("stop.hours",)),
        ("stop", {"rounds": -1}, ("stop.rounds", "-1")),
        ("stop", {"labels": 0}, ("stop.labels",)),
        ("stop", {"core_hours": -1.0}, ("core_hours",)),
        ("validation", {"frames": 3}, ("validation", "kind")),
        ("validation", {"kind": "reference-md", "temperatures_K": []}, ("temperatures_K",)),
        ("validation", {"kind": "reference-md", "every": 0}, ("every",)),
        ("executor", {"kind": "slrm"}, ("slrm", "slurm")),
        ("executor", {"kind": "parsl"}, ("config",)),
        ("executor", {"kind": "parsl", "config": "nope.py:config"}, ("nope.py",)),
        ("executor", {"kind": "local", "workers": -1}, ("workers", "-1")),
        ("executor", {"kind": "local", "label_time_limit_s": 0}, ("label_time_limit_s",)),
        ("executor", {"kind": "local", "label_time_limit_s": INF}, ("label_time_limit_s", "inf")),
        ("executor", {"kind": "local", "attempts": 0}, ("attempts",)),
        ("executor", {"kind": "local", "persistent": True}, ("persistent", "mock")),
        ("executor", {"kind": "slurm", "walltime": "soon"}, ("walltime",)),
        ("reference", "mokc", ("mokc", "mock")),
        ("reference", "x.toml", ("x.toml",)),
        ("reference", "../../../../../etc/passwd", ("passwd",)),
        ("reference", ".", ()),
        ("reference", 5, ("reference",)),
        ("reference", None, ("reference",)),
        ("selection.rule", "uncertain", ("uncertain", "uncertainty")),
        ("selection", {"rule": "two_key", "settings": {"foo": 1}}, ("foo",)),
        ("selection", {"rule": "two_key", "settings": {"gain": NAN}}, ("gain",)),
        ("selection", {"rule": "two_key", "settings": {"gain": "x"}}, ("gain",)),
        ("selection", {"rule": "two_key", "settings": {"shortlist": []}}, ("shortlist",)),
        ("selection.audit", 2.0, ("selection.audit", "2")),
        ("selection.batch", 0, ("batch",)),
        ("selection.batch", -3, ("batch",)),
        ("training.r_max", NAN, ("training", "r_max")),
        ("training.r_max", 1e6, ("r_max",)),
        ("training.r_max", -1.0, ("r_max",)),
        ("training.channels", 10**9, ("channels",)),
        ("training.correlation", 40, ("correlation",)),
        ("training.max_ell", 200, ("max_ell",)),
        ("training.lr", NAN, ("lr",)),
        ("training.lr", -1.0, ("lr",)),
        ("training.updates", 0, ("updates",)),
        ("training.batch_size", 0, ("batch_size",)),
        ("training.E0s", {"Cu": NAN}, ("E0s",)),
        ("training.E0s", {"Qq": 1.0}, ("Qq",)),
        ("training.E0s", {"Fe": 1.0}, ("E0s", "Cu")),
        ("training.E0s", "averge", ("E0s",)),
        ("training.device", "gpu", ("device",)),
        ("training.device", "cpu; rm -rf /", ("device",)),
        ("training.dtype", "float16", ("dtype",)),
        ("training.kind", "mcae", ("mace",)),
        ("fingerprint.cutoff", 1e6, ("cutoff",)),
        ("fingerprint.cutoff", -1.0, ("cutoff",)),
        ("fingerprint.cutoff", 0.0, ("cutoff",)),
        ("fingerprint.n_max", 10**9, ("n_max",)),
        ("fingerprint.n_max", 0, ("n_max",)),
        ("fingerprint.eps", 1e-300, ("eps",)),
        ("fingerprint.eps", 0.0, ("eps",)),
        ("fingerprint.mode", "per-atm", ("per-atom",)),
        ("version", 2, ("version",)),
        ("version", "1", ("version",)),
        ("charge", 1.5, ("charge",)),
        ("charge", 1000, ("charge",)),
        ("charge", INF, ("charge",)),
        ("target.miss_rate", 0.0, ("miss_rate",)),
        ("target.force_error_eV_per_A", -1.0, ("force_error_eV_per_A",)),
        ("target.force_error_eV_per_A", NAN, ("force_error_eV_per_A",)),
        ("target.rounds", 0, ("target.rounds",)),
        ("target.outliers", 1.5, ("outliers",)),
        ("sed", 5, ("sed", "seed")),
    ]
    for key, value, names in wrong:
        title = f"{key} = {str(value)[:70]!r}" if value is not None else f"without {key}"
        content = put(BASE, key, value)
        yield Case(
            "campaign file", title, lambda box, c=content: campaign(box, c), "refused", ("c.toml", *names), True,
            short=key in ("explore.temperatures_K", "seed", "name", "training.device"),
        )  # fmt: skip
    right: list[tuple[str, Any]] = [
        ("seed", 20261121), ("seed", 2**32 - 1), ("name", "a-b_c.d"), ("structures.0.name", "fcc-Cu_1.x"),
        ("explore.temperatures_K", [1, 5000.0]), ("training.E0s", {"Cu": -2.0}), ("training.device", "cpu"),
        ("stop", {"labels": 5}), ("target.miss_rate", 0.01), ("selection.audit", 1.0),
        ("selection", {"rule": "two_key", "settings": {"gain": 0.1}}), ("fingerprint.cutoff", 4.0), ("charge", 0),
    ]  # fmt: skip
    for key, value in right:
        content = put(BASE, key, value)
        yield Case(
            "campaign file", f"{key} = {str(value)[:40]}, which is right", lambda box, c=content: campaign(box, c),
            "taken", opening=True, short=value == 20261121,
        )  # fmt: skip


def _texts() -> Iterator[Case]:
    """Campaign files that are no TOML, or no table."""
    good = tomli_w.dumps(BASE)
    texts: list[tuple[str, str | bytes, tuple[str, ...]]] = [
        ("empty", "", ("name",)),
        ("binary", b"\xff\xfe\x00\x01", ()),
        ("a bad value", "name = \nseed = 1", ()),
        ("a byte order mark of UTF-16", good.encode("utf-16"), ()),
        ("a key twice", 'name = "a"\nname = "b"', ()),
        ("half of it", good[: len(good) // 2], ()),
        ("Latin-1", "name = 'é'".encode("latin-1"), ()),
        ("deep nesting", "x = " + "[" * 5000 + "]" * 5000, ()),
        ("a key of 100 kB", "x" * 100_000 + " = 1\n" + good, ()),
        ("NUL bytes", good.replace("tiny", "ti\0ny"), ()),
        ("JSON", '{"name": "x"}', ()),
        ("a list", "[[a]]\nb = 1", ()),
    ]
    for title, text, names in texts:
        yield Case(
            "campaign file", f"text: {title}", lambda box, t=text: campaign(box, t), "refused", ("c.toml", *names),
            True, short=title == "deep nesting",
        )  # fmt: skip
    marked = b"\xef\xbb\xbf" + good.encode()
    yield Case("campaign file", "text: a UTF-8 mark", lambda box: campaign(box, marked), "told", ("c.toml",), True)
    windows = good.replace("\n", "\r\n")
    yield Case("campaign file", "text: CRLF", lambda box: campaign(box, windows), "taken", opening=True)


def _structures() -> Iterator[Case]:
    """Structures that cannot be computed, and odd ones that can."""
    far = copper()
    far.positions[1] += 1e8
    nan = copper()
    nan.positions[0, 0] = NAN
    cramped = copper()
    cramped.set_cell(cramped.cell.array * (0.05 / 3.61), scale_atoms=True)
    flat = copper()
    flat.cell[2] = flat.cell[1]
    same = Atoms("Cu2", positions=[[0, 0, 0]] * 2, cell=[4, 4, 4], pbc=True)
    bad: list[tuple[str, str | bytes]] = [
        ("an empty file", ""),
        ("no atoms", xyz(Atoms(cell=[3, 3, 3], pbc=True))),
        ("a broken lattice", '1\nLattice="1 2 x" pbc="T T T"\nCu 0 0 0\n'),
        ("an unknown element", xyz(copper()).replace("Cu ", "Zz ")),
        ("NaN positions", xyz(nan)),
        ("a cell without volume", xyz(flat)),
        ("periodic without a cell", xyz(copper()).replace('Lattice="3.61 0.0 0.0 0.0 3.61 0.0 0.0 0.0 3.61" ', "")
         .replace('pbc="T T T"', 'pbc="T T T"')),
        ("a cell of 0.05 Å", xyz(cramped)),
        ("atoms 1e8 Å apart in no cell", xyz(Atoms("Cu2", positions=[[0, 0, 0], [1e8, 0, 0]]))),
        ("element X", xyz(Atoms("X2", positions=[[0, 0, 0], [2.5, 0, 0]], cell=[6, 6, 6], pbc=True))),
        ("two atoms at one place", xyz(same)),
        ("bytes", b"\x00\x01\x02" * 100),
        ("truncated", xyz(copper())[:-40]),
    ]  # fmt: skip
    for title, text in bad:

        def prepare(box: Box, text: str | bytes = text) -> Command:
            command = campaign(box, BASE)
            box.file("cu.xyz", text)
            return command

        yield Case("structures", title, prepare, "refused", (), short=title == "a cell of 0.05 Å")
    for name in ("cu@300K.xyz", "cu [1].xyz", "c u*.xyz", "kupfer-ü.xyz", "cu.xyz.gz", "cu#1.xyz", "-cu.xyz"):

        def named(box: Box, name: str = name) -> Command:
            text = xyz(copper()).encode()
            box.file(name, gzip.compress(text) if name.endswith(".gz") else text)
            return campaign(box, put(BASE, "structures", [{"file": name}]))

        yield Case("structures", f"a file called {name}", named, "taken", opening=True, short="@" in name)


def _runs() -> Iterator[Case]:
    """What can only be seen while the campaign runs."""
    one_of_ten = put(BASE, "reference", "shy.toml")
    shy = 'calculator = "tentpole.labeling.mock:Mock"\nproperties = ["energy", "forces"]\n[parameters]\n{}\n'

    def none(box: Box, parameters: str = "unconverged_fraction = 1.0") -> Command:
        box.file("shy.toml", shy.format(parameters))
        return campaign(box, one_of_ten)

    yield Case("runs", "no label at all", none, "refused", ())

    def again(box: Box) -> Command:
        """The folder that a campaign without labels leaves: the next start must not spin."""
        words = none(box)
        assert not callable(words)
        return lambda: tentpole(*words) and tentpole(*words)

    yield Case("runs", "no label at all, and the same command again", again, "refused", ())

    def markup(box: Box) -> Command:
        text = "def make():\n    raise RuntimeError('cannot open [/scratch/job.17] [bold]x')\n"
        box.file("mine.py", text)
        box.file("shy.toml", f'calculator = "{box.work / "mine.py"}:make"\nproperties = ["energy", "forces"]\n')
        return campaign(box, one_of_ten)

    yield Case("runs", "brackets in a label's message", markup, "refused", ())

    def missing(box: Box) -> Command:
        text = "import subprocess\ndef make():\n    subprocess.run(['no-such-program-at-all'])\n"
        box.file("mine.py", text)
        box.file("shy.toml", f'calculator = "{box.work / "mine.py"}:make"\nproperties = ["energy", "forces"]\n')
        return campaign(box, one_of_ten)

    yield Case("runs", "the reference's program is not there", missing, "refused", ())

    def own(box: Box) -> Command:
        campaign(box, {"version": 1, **BASE})
        return ["run", "c.toml", "--dir", "."]

    yield Case("runs", "--dir is the folder of the user's own file", own, "refused", (), True)

    def overwritten(box: Box) -> Command:
        campaign(box, BASE)
        (box.work / "c.toml").rename(box.work / "campaign.toml")
        return ["run", "campaign.toml", "--dir", "."]

    yield Case("runs", "--dir would overwrite campaign.toml", overwritten, "refused", ("campaign.toml",), True)

    def diverged(box: Box) -> Command:
        return campaign(box, put(BASE, "training.lr", 1e6))

    yield Case("runs", "a learning rate of a million", diverged, "refused", ())


def _words() -> Iterator[Case]:  # noqa: C901 - one small function per case
    """Command lines."""

    def plain(*words: str, text: str = "") -> Callable[[Box], Command]:
        def prepare(box: Box) -> Command:
            box.file("a-file", text or "x")
            box.out("unused")
            campaign(box, BASE)
            return words

        return prepare

    bad: list[tuple[tuple[str, ...], tuple[str, ...]]] = [
        ((), ()),
        (("status",), ()),
        (("stauts",), ("status",)),
        (("status", "D", "--jsno"), ("jsno",)),
        (("status", "nope"), ("nope",)),
        (("status", "a-file"), ("a-file",)),
        (("status", "/"), ()),
        (("status", "."), ()),
        (("run", "nope.toml"), ("nope.toml",)),
        (("run", "/"), ()),
        (("run", "/dev/null"), ("/dev/null",)),
        (("run", "/dev/zero"), ("/dev/zero",)),
        (("run", "c.toml", "--dir", "a-file"), ("a-file",)),
        (("run", "c.toml", "--dir", "a-file/x"), ("a-file",)),
        (("run", "c.toml", "--dir", "/etc"), ("/etc",)),
        (("run", "c.toml", "--dir", "x" * 300), ("x" * 100,)),
        (("run", "c.toml", "--dir", "/proc/x"), ("/proc/x",)),
        (("run", "c.toml", "--dir", "a\0b"), ()),
        (("references", "nope"), ("nope", "mock")),
        (("references", "../../../../../etc/passwd"), ("passwd",)),
        (("references", "/etc/passwd"), ("passwd",)),
        (("report", "nope"), ("nope",)),
        (("explain", "nope", "r001-w00-000005"), ("nope",)),
        (("export", "nope", "--out", "e"), ("nope",)),
        (("export", "."), ()),
        (("check", "nope.toml"), ("nope.toml",)),
        (("check", "a-file"), ("a-file",)),
        (("qbc", "nope.toml"), ("nope.toml",)),
        (("qbc", "a-file"), ("a-file",)),
        (("models", "import", "no.model"), ("no.model",)),
        (("models", "import", "a-file"), ("a-file",)),
        (("train", "nope.xyz", "--out", "m"), ("nope.xyz",)),
        (("train", "a-file", "--out", "m"), ("a-file",)),
    ]
    for words, names in bad:
        title = " ".join(word[:40] for word in words) or "(no words)"
        yield Case("command lines", title, plain(*words), "refused", names, True, short=words[:2] == ("run", "/"))
    for place in ("a [/b] c", "x [bold]y", "[/]", "ünï", "with space"):
        for command in ("status", "run", "explain"):

            def named(box: Box, place: str = place, command: str = command) -> Command:
                box.campaign(place)
                return [command, place, *(["r001-w00-000005"] if command == "explain" else [])]

            case = Case("command lines", f'{command} of a folder "{place}"', named, "taken", short=place == "[/]")
            yield case

    def unfinished(box: Box) -> Command:
        box.campaign("u [/b]", "halfway")
        return ["status", "u [/b]"]

    yield Case("command lines", 'status of an unfinished "u [/b]"', unfinished, "taken", ("u [/b]",))

    def linked(box: Box) -> Command:
        (box.work / "link").symlink_to(box.campaign())
        return ["run", "link"]

    yield Case("command lines", "run by a symbolic link", linked, "taken")

    def looped(box: Box) -> Command:
        (box.work / "loop").symlink_to("loop")
        return ["status", "loop"]

    yield Case("command lines", "a loop of links", looped, "refused", ("loop",))
    for option in ("report", "export"):

        def to_file(box: Box, option: str = option) -> Command:
            box.file("taken", "mine")
            return [option, box.campaign(), "--out", "taken"]

        yield Case("command lines", f"{option} --out is a file", to_file, "refused", ("taken",))
    for identifier in (
        "nonsense", "", "-", "r001-../../x-000005", "r99999999999-w00-000005", "r²-w00-000005", "r001-w00-9" * 30,
        "[/x]", "r001-w00-\0",
    ):  # fmt: skip
        prepare = lambda box, word=identifier: ["explain", box.campaign(), "--", word]  # noqa: E731
        yield Case("command lines", f"explain {identifier[:30]!r}", prepare, "refused", ())


def _steps() -> Iterator[Case]:  # noqa: C901 - one small function per case
    """score, select, label and train on files."""
    good = xyz(copper(), copper())
    models = str(V1 / "finished" / "models" / "r003")

    def files(box: Box) -> None:
        box.file("good.xyz", good)
        nan, far, flat = copper(), copper(), copper()
        nan.positions[0, 0] = NAN
        far.set_cell(np.eye(3) * 1e9)
        far.positions[1] = 5e8
        flat.cell[2] = flat.cell[1]
        tiny = copper()
        tiny.set_cell(tiny.cell.array * 0.01, scale_atoms=True)
        scored = copper()
        scored.info |= {"force_std": 0.1, "max_force_std": 0.2}
        unscored, text = scored.copy(), scored.copy()
        unscored.info["force_std"], text.info["force_std"] = NAN, "much"
        frames = {
            "nan": nan, "far": far, "flat": flat, "tiny": tiny, "scored": scored, "unscored": unscored, "text": text,
            "iron": Atoms("Fe2", positions=[[0, 0, 0], [2.4, 0, 0]], cell=[6, 6, 6], pbc=True),
            "raw": copper(), "same": Atoms("Cu2", positions=[[0, 0, 0]] * 2, cell=[4, 4, 4], pbc=True),
        }  # fmt: skip
        for name, atoms in frames.items():
            box.file(f"{name}.xyz", xyz(atoms))
        (box.work / "folder").mkdir()
        for name in ("o.xyz", "o.xyz.gz", "o-labels", "labels", "made"):
            box.out(name)

    def words(*given: str) -> Callable[[Box], Command]:
        def prepare(box: Box) -> Command:
            files(box)
            return given

        return prepare

    def score(*more: str, frames: str = "good.xyz", out: str = "o.xyz", by: str = models) -> tuple[str, ...]:
        return ("score", frames, "--models", by, "--out", out, *more)

    def select(*more: str, frames: str = "scored.xyz") -> tuple[str, ...]:
        return ("select", frames, "--out", "o.xyz", *more)

    def label(*more: str, frames: str = "good.xyz", by: str = "mock", out: str = "o.xyz") -> tuple[str, ...]:
        return ("label", frames, "--reference", by, "--out", out, "--workers", "1", *more)

    table: list[tuple[tuple[str, ...], str, tuple[str, ...]]] = [
        (score(), "taken", ()),
        (score(frames="no.xyz"), "refused", ("no.xyz",)),
        (score(frames="folder"), "refused", ("folder",)),
        (score(by="nope"), "refused", ("nope",)),
        (score(by="folder"), "refused", ("folder",)),
        *(
            (score("--fingerprint", f"cutoff={value}"), "refused", ("cutoff",))
            for value in ("nan", "inf", "0", "-1", "1e9", "1e-4", "abc")
        ),
        *(
            (score("--fingerprint", f"eps={value}"), "refused", ("eps",))
            for value in ("nan", "inf", "0", "-1", "1e-300")
        ),
        (score("--fingerprint", "cutof=5"), "refused", ("cutoff",)),
        (score("--fingerprint", "cutoff"), "refused", ("--fingerprint",)),
        (score(frames="nan.xyz"), "told", ()),
        (score(frames="iron.xyz"), "told", ()),
        (score(frames="flat.xyz"), "told", ()),
        (score(frames="tiny.xyz"), "told", ()),
        (score(frames="far.xyz"), "told", ()),
        (score(frames="same.xyz"), "told", ()),
        (score(out="folder"), "refused", ("folder",)),
        (score(out="good.xyz/o.xyz"), "refused", ("good.xyz",)),
        (score(out="/proc/o.xyz"), "refused", ("/proc",)),
        (score("--dataset", "no.xyz"), "refused", ("no.xyz",)),
        *((select("--count", value), "refused", ("count",)) for value in ("0", "-5")),
        (select("--count", "1000000000"), "told", ()),
        (select("--seed", "-1"), "refused", ("seed",)),
        (select("--seed", "99999999999999999999999"), "told", ()),
        (select("--rule", "nope"), "refused", ("nope", "two_key")),
        (select("--set", "gain"), "refused", ("gain",)),
        (select("--set", "gain=nan"), "refused", ("gain",)),
        (select("--set", 'gain="x"'), "refused", ("gain",)),
        (select("--set", "=3"), "refused", ()),
        (select("--set", "__class__=3"), "refused", ("__class__",)),
        (select("--fingerprint", "cutoff=nan"), "refused", ("cutoff",)),
        (select("--fingerprint", "eps=0"), "refused", ("eps",)),
        (select("--fingerprint", "kind=mace"), "refused", ("--models",)),
        (select("--sigma", "most"), "refused", ("--sigma",)),
        (select("--dataset", "no.xyz"), "refused", ("no.xyz",)),
        (select("--rule", "random", "--set", "x=1"), "refused", ("x",)),
        *((select(frames=f"{name}.xyz"), "refused", (f"{name}.xyz", "force_std")) for name in
          ("raw", "unscored", "text")),
        (label(by="nope"), "refused", ("nope",)),
        (label("--workers", "-3"), "refused", ("workers",)),
        (label("--workers", "x"), "refused", ()),
        (label(frames="nan.xyz"), "refused", ("nan.xyz",)),
        (label(frames="flat.xyz"), "refused", ()),
        (label(frames="same.xyz"), "refused", ()),
        (label(out="folder"), "refused", ("folder",)),
        (label("--dir", "good.xyz"), "refused", ("good.xyz",)),
        (label(by="espresso"), "refused", ()),
        (label("--multiplicity", "0"), "refused", ("multiplicity",)),
        (label(by="xtb"), "refused", ("charge",)),
        (("train", "raw.xyz", "--out", "made"), "refused", ("raw.xyz",)),
        (("train", "good.xyz", "--out", "made", "--members", "1"), "refused", ("members",)),
        (("train", "good.xyz", "--out", "made", "--set", "lr=nan"), "refused", ("lr",)),
        (("train", "good.xyz", "--out", "made", "--seed", "-1"), "refused", ()),
    ]  # fmt: skip
    for given, expect, names in table:
        yield Case(
            "steps", " ".join(word.replace(models, "MODELS")[:30] for word in given), words(*given), expect, names,
            short=given[:1] == ("select",) and "--seed" in given,
        )  # fmt: skip

    def zipped(box: Box) -> Command:
        files(box)
        return score(out="o.xyz.gz")

    def is_gzip(box: Box) -> str:
        path = box.work / "o.xyz.gz"
        plain = path.exists() and path.read_bytes()[:2] != b"\x1f\x8b"
        return "taken: o.xyz.gz holds plain text" if plain else ""

    yield Case("steps", "score --out o.xyz.gz", zipped, "told", after=is_gzip)

    def stale(box: Box) -> Command:
        files(box)
        box.file("o.xyz", "from last year")
        return label(frames="same.xyz")

    def no_stale(box: Box) -> str:
        path = box.work / "o.xyz"
        return "taken: a stale --out stands" if path.exists() and path.read_text() == "from last year" else ""

    yield Case("steps", "label without a result, --out from last year", stale, "refused", (), after=no_stale)

    def one_flat(box: Box) -> Command:
        files(box)
        box.file("mixed.xyz", good + (box.work / "flat.xyz").read_text())
        return score(frames="mixed.xyz")

    def others_scored(box: Box) -> str:
        path = box.work / "o.xyz"
        return "" if path.exists() and path.read_text().count("force_std=") >= 2 else "lost: the good frames' scores"

    yield Case("steps", "score where one frame has no volume", one_flat, "taken", after=others_scored)


def cases() -> Iterator[Case]:
    """All of them."""
    yield from _keys()
    yield from _texts()
    yield from _structures()
    yield from _runs()
    yield from _words()
    yield from _steps()
