"""The protocol and the commands: paired, reproducible, resumable, and clear about bad input."""

import base64
import csv
import re
import subprocess
import sys

import numpy as np
import pytest
from typer.testing import CliRunner

from support.loopback_services import KEY, Services
from support.processes import children, until
from tentpole.benchmarks.pool import (
    BenchmarkProtocol,
    LearningTask,
    Settings,
    build,
    load,
    model,
    read,
    run,
    run_seed,
    write,
)
from tentpole.benchmarks.pool.benchmark import split
from tentpole.cli.pool import pool_app
from tentpole.errors import InputError, StateError
from tentpole.selection import make_rule
from tentpole.selection.base import Candidates, Labelled
from tentpole.storage.atomic import read_json, write_json
from tentpole.storage.lock import Lock

pytestmark = pytest.mark.slow

QUICK = BenchmarkProtocol(labels=60)
FAST = {"random": make_rule("random"), "uncertainty": make_rule("uncertainty"), "hybrid": make_rule("hybrid")}


def task(n=200, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 4))
    return LearningTask(x, np.sin(x[:, 0]) + 0.3 * x[:, 1])


def table(n=200, seed=0, **more):
    t = task(n, seed)
    names = [f"Fe{1 + i % 5}O{1 + i % 9}" for i in range(n)]
    return build({"formula": names, "target": t.target, **{f"x{i}": c for i, c in enumerate(t.inputs.T)}, **more})


def command(*words):
    return CliRunner().invoke(pool_app, [str(w) for w in words], catch_exceptions=True)


def test_all_rules_share_split_and_first_labels_and_none_sees_the_test_set():
    measurements, chosen = run_seed(task(), FAST, model("networks"), QUICK, 5)
    test, initial, rest = split(QUICK, 200, 5)
    assert len(test) == 40
    assert sorted([*test, *initial, *rest]) == list(range(200))
    for labels in chosen.values():
        assert labels[:30] == initial.tolist()
        assert len(set(labels)) == len(labels) == 60
        assert not set(labels) & set(test)
    assert [m.labels for m in measurements if m.rule == "hybrid"] == [30, 45, 60]
    first = {m.mae for m in measurements if m.round == 0}
    assert len(first) == 1
    assert len({m.mae for m in measurements if m.round == 2}) == 3


def test_a_rules_curve_does_not_depend_on_its_companions():
    together, _ = run_seed(task(), FAST, model("networks"), QUICK, 1)
    alone, _ = run_seed(task(), {"hybrid": FAST["hybrid"]}, model("networks"), QUICK, 1)
    assert [m.mae for m in together if m.rule == "hybrid"] == [m.mae for m in alone]


def test_a_rule_that_finds_nothing_worth_a_label_ends_early():
    class Shy:
        def select(self, candidates, labelled, k, rng):
            return FAST["random"].select(candidates, labelled, 4, rng) if len(labelled.features) < 38 else []

    measurements, chosen = run_seed(task(), {"shy": Shy()}, model("networks"), QUICK, 1)
    assert [m.labels for m in measurements] == [30, 34, 38]
    assert len(chosen["shy"]) == 38


def values(results):
    return [(m.rule, m.seed, m.round, m.mae, m.r2, m.spearman) for m in results.measurements]


@pytest.mark.slow
def test_seeds_reproduce_bit_for_bit_whatever_the_number_of_workers(tmp_path):
    settings = Settings("t", "target", "columns", rules=("random", "diversity", "adaptive"), protocol=QUICK)
    one = run(table(), settings, tmp_path / "one", [0, 1, 2])
    two = run(table(), settings, tmp_path / "two", [0, 1, 2], workers=2)
    assert values(one) == values(two)


def test_clusters_are_the_same_bits_on_any_number_of_threads():
    limits = pytest.importorskip("threadpoolctl").threadpool_limits
    x = np.random.default_rng(0).normal(size=(3000, 4))
    table = Candidates([str(i) for i in range(len(x))], np.ones(len(x)), x, ["pool"] * len(x))
    found = []
    for threads in (1, 2, 2):
        with limits(threads):
            picks = make_rule("diversity").select(table, Labelled(x[:30]), 15, np.random.default_rng(1))
        found.append([(p.index, p.scores["distance"]) for p in picks])
    assert found[0] == found[1] == found[2]


def test_a_run_goes_on_where_it_stopped_and_takes_more_seeds(tmp_path):
    settings = Settings("t", "target", "columns", rules=("random", "hybrid"), protocol=QUICK)
    whole = run(table(), settings, tmp_path / "whole", range(3))
    steps = []

    def stop(done, total):
        steps.append((done, total))
        if done == 8:  # in the second seed
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(table(), settings, tmp_path / "cut", range(3), on_progress=stop)
    assert steps == [(i, 18) for i in range(9)]
    assert load(tmp_path / "cut").seeds == [0]
    kept = (tmp_path / "cut" / "seeds" / "00000.json").read_bytes()
    again = run(table(), settings, tmp_path / "cut", range(3))
    assert values(again) == values(whole)
    assert (tmp_path / "cut" / "seeds" / "00000.json").read_bytes() == kept
    with pytest.raises(StateError, match="other settings or data"):
        run(table(seed=1), settings, tmp_path / "cut", range(3))


def test_a_worker_of_a_run_ends_with_its_driver(tmp_path):
    write(table(600), tmp_path / "t.csv")
    words = ("--target", "target", "--features", "columns", "--seeds", "400", "--workers", "2")
    command = [sys.executable, "-m", "tentpole", "pool", "run", "t.csv", "--out", "o", *words]
    driver = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    workers = until(lambda: [p for p in children(driver.pid) if "resource_tracker" not in p.command], 60)
    driver.kill()
    driver.wait()
    assert workers
    assert until(lambda: not any(p.lives for p in workers), 20)


def test_seeds_of_other_data_are_not_reported_as_new(tmp_path):
    settings = Settings("t", "target", "columns", rules=("random",), protocol=QUICK)
    run(table(), settings, tmp_path, range(2))
    (tmp_path / "benchmark.json").unlink()
    with pytest.raises(StateError, match=r"00000\.json: of other settings or data"):
        run(table(seed=1), settings, tmp_path, range(2))
    assert run(table(), settings, tmp_path, range(2)).seeds == [0, 1]
    seed = tmp_path / "seeds" / "00001.json"
    content = read_json(seed)
    write_json(seed, content | {"identity": "another"})
    with pytest.raises(StateError, match=r"00001\.json: of other settings"):
        load(tmp_path)
    write_json(seed, {key: value for key, value in content.items() if key != "identity"})  # as version 0.1 wrote it
    assert load(tmp_path).seeds == [0, 1]


def test_two_runs_of_one_folder_do_not_work_at_once(tmp_path):
    settings = Settings("t", "target", "columns", rules=("random",), protocol=QUICK)
    with Lock(tmp_path), pytest.raises(StateError, match="another driver"):
        run(table(), settings, tmp_path, range(2))


@pytest.mark.parametrize(
    ("seeds", "rules", "workers", "match"),
    [
        ((-5, -4), ("random",), 1, r"--first-seed -5"),
        (range(10**9), ("random",), 1, r"--seeds 1000000000"),
        ((0,), ("random", "random"), 1, r'"random" is named twice'),
        ((0,), (), 1, "no rules"),
        ((0,), ("random",), -2, "--workers -2"),
    ],
)
def test_calls_that_cannot_be_meant_are_refused(tmp_path, seeds, rules, workers, match):
    settings = Settings("t", "target", "columns", rules=rules, protocol=QUICK)
    with pytest.raises(InputError, match=match):
        run(table(), settings, tmp_path / "o", seeds, workers=workers)
    assert not (tmp_path / "o").exists()


def test_a_damaged_seed_is_named(tmp_path):
    settings = Settings("t", "target", "columns", rules=("random",), protocol=QUICK)
    run(table(), settings, tmp_path, range(2))
    path = tmp_path / "seeds" / "00001.json"
    path.write_text(path.read_text().replace('"mae": 0.', '"mae": 1.', 1))
    with pytest.raises(StateError, match=r"00001\.json: damaged"):
        load(tmp_path)


def test_a_users_own_csv_with_a_custom_target_in_one_command(tmp_path):
    write(table(), tmp_path / "mine.csv")
    run_words = ("run", tmp_path / "mine.csv", "--target", "target", "--features", "columns", "--out", tmp_path / "o")
    more = ("--rules", "random,uncertainty,adaptive", "--labels", 60, "--seeds", 3, "--workers", 1)
    done = command(*run_words, *more)
    assert done.exit_code == 0, done.output
    assert re.search(r"^random +60 +0\.\d{4} ± ", done.output, re.MULTILINE)
    assert max(map(len, done.output[done.output.index("rule ") :].split("After Holm")[0].splitlines()[:4])) <= 80
    assert "After Holm's correction" in done.output
    pytest.importorskip("matplotlib")
    pytest.importorskip("jinja2")
    done = command("report", tmp_path / "o")
    assert done.exit_code == 0, done.output
    report = tmp_path / "o" / "report"
    rows = list(csv.DictReader((report / "curves.csv").open()))
    assert len(rows) == 3 * 3 * 3
    assert {row["rule"] for row in rows} == {"random", "uncertainty", "adaptive"}
    assert (report / "table.md").read_text().count("\n") == 5
    page = (report / "index.html").read_text()
    picture = re.search(r'src="data:image/png;base64,([^"]+)"', page)
    assert base64.b64decode(picture.group(1)) == (report / "curves.png").read_bytes()
    assert not re.search(r'(src|href)="(?!data:)', page)  # nothing is loaded from elsewhere
    for verdict in ("baseline", "random"):
        assert verdict in page


def test_cross_database_validation_goes_both_ways(tmp_path):
    write(table(extra=np.arange(200.0)), tmp_path / "a.csv")
    write(table(seed=4), tmp_path / "b.csv")
    done = command(
        "run", tmp_path / "a.csv", "--against", tmp_path / "b.csv", "--target", "target", "--features", "columns",
        "--rules", "random,hybrid", "--labels", 45, "--seeds", 2, "--out", tmp_path / "o", "--workers", 1,
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    there, back = load(tmp_path / "o"), load(tmp_path / "o" / "reverse")
    assert there.about["names"] == back.about["names"] == ["x0", "x1", "x2", "x3"]
    assert there.about["rows_elsewhere"] == 200
    for results in (there, back):
        elsewhere = np.array([m.elsewhere_mae for m in results.measurements])
        own = np.array([m.mae for m in results.measurements])
        assert np.isfinite(elsewhere).all()
        assert 0.2 < elsewhere.mean() / own.mean() < 5  # both pools follow one law
    pytest.importorskip("matplotlib")
    done = command("report", tmp_path / "o", "--out", tmp_path / "r")
    assert done.exit_code == 0, done.output
    assert len(list((tmp_path / "r").glob("*/elsewhere.md"))) == 2


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (["--target", "targe"], r'unknown column "targe"; did you mean "target"\?'),
        (["--target", "word"], r'column "word" is text .* Numeric columns: target'),
        (["--target", "constant"], r'column "constant" is constant \(2\): there is nothing to learn'),
        (["--target", "empty"], r'column "empty" is empty'),
        (["--labels", "500"], r"the table has 200 usable rows; 500 labels .* need at least 626"),
        (["--rules", "random,hybird"], r'unknown selection rule "hybird"; did you mean "hybrid"'),
        (["--model", "net"], "unknown model"),
        (["--initial", "1"], "legal is 2 ≤ initial"),
        (["--seeds", "0"], "no seeds given"),
    ],
)
def test_bad_input_is_answered_clearly(tmp_path, words, match):
    n = 200
    write(table(word=["x"] * n, constant=[2.0] * n, empty=[np.nan] * n), tmp_path / "t.csv")
    given = {"--target": "target", "--features": "columns"} | dict(zip(words[::2], words[1::2], strict=True))
    done = command("run", tmp_path / "t.csv", "--out", tmp_path / "o", *(w for pair in given.items() for w in pair))
    assert isinstance(done.exception, InputError), done.output
    assert re.search(match, str(done.exception))


@pytest.mark.slow
def test_fetch_writes_one_pool_of_several_databases_with_every_count(tmp_path, monkeypatch):
    pytest.importorskip("mp_api.client")
    monkeypatch.setenv("MP_API_KEY", KEY)
    with Services() as services:
        done = command(
            "fetch", "--elements", "Ti,O", "--mp", 50, "--oqmd", 10, "--out", tmp_path / "pool.h5",
            "--cache", tmp_path / "cache", "--mp-endpoint", services.base,
            "--oqmd-endpoint", f"{services.base}/oqmdapi",
        )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "− 2 without a finite band_gap: 21 left" in done.output
    assert "not on one scale" in done.output
    pool = read(tmp_path / "pool.h5")
    assert set(pool.text("database")) == {"mp", "oqmd"}
    assert len(pool) == 21 + 8
    assert all(s is not None for s in pool.structures)
    assert KEY not in done.output


def test_fetch_refuses_what_makes_no_sense(tmp_path):
    for words, match in (
        ((), "nothing to fetch"),
        (("--elements", "Si", "--chemsys", "Si-O", "--oqmd", 5), "both given"),
        (("--oqmd", 5), "no elements given"),
        (("--elements", "Si", "--oqmd", 5, "--out", tmp_path / "p.txt"), "a pool is written as"),
    ):
        done = command("fetch", *words, *(() if "--out" in words else ("--out", tmp_path / "p.h5")))
        assert isinstance(done.exception, InputError), done.output
        assert match in str(done.exception)
