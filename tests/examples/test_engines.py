"""Campaigns driven from outside: a shell loop around a queue, jobflow, AiiDA."""

import importlib.util
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from support.paths import EXAMPLES
from support.small_campaign import small_campaign
from tentpole import CampaignRecord

pytestmark = pytest.mark.slow

SBATCH = """#!/usr/bin/env bash
# Stands in for Slurm's: takes the options that the loop gives, and runs the command at once.
set -eu
[ "$1 $2 $3" = "--wait --quiet --output" ] && [ "$5" = --wrap ] || { echo "sbatch: $*" >&2; exit 1; }
exec bash -c "$6" > "$4" 2>&1
"""
EMT = """import sys
from ase.calculators.emt import EMT
from ase.io import read, write
atoms = read(sys.argv[1])
atoms.calc = EMT()
atoms.get_stress()
write(sys.argv[2], atoms, format="extxyz")
"""


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(Path(name).stem, EXAMPLES / name)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def campaign(folder: Path, rounds: int = 1) -> Path:
    return small_campaign(
        folder,
        stop={"rounds": rounds},
        initial={"kind": "rattle", "count": 3, "stdev_A": [0.05]},
        selection={"rule": "uncertainty", "batch": 2, "audit": 0.5},
    )


def check(folder: Path, *labels: int) -> CampaignRecord:
    record = CampaignRecord.read(folder)
    assert record.verdict.kind == "BUDGET"
    assert [one.labels for one in record.rounds] == [*labels]
    return record


@pytest.fixture
def tools(tmp_path: Path) -> dict[str, str]:
    """An environment with `tentpole` and an `sbatch` that runs its job at once."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "sbatch").write_text(SBATCH)
    (folder / "tentpole").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m tentpole "$@"\n')
    for tool in folder.iterdir():
        tool.chmod(0o755)
    (tmp_path / "emt.py").write_text(EMT)
    return os.environ | {
        "PATH": f"{folder}:{os.environ['PATH']}",
        "LABEL": f"{sys.executable} -W ignore {tmp_path / 'emt.py'} {{}} @",
    }


def run(environment: dict[str, str], folder: Path, *words: object) -> str:
    command = [str(EXAMPLES / "09_shell_loop" / str(words[0])), *map(str, words[1:])]
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_shell_loop_labels_by_jobs_to_a_verdict(tmp_path: Path, tools: dict[str, str]) -> None:
    assert "BUDGET" in run(tools, tmp_path, "loop.sh", campaign(tmp_path, rounds=0), tmp_path / "run")
    assert '"told_from"' in check(tmp_path / "run", 3).frames[0].label.read_text()


@pytest.fixture
def login_node(tmp_path: Path, tools: dict[str, str]) -> Iterator[dict[str, str]]:
    """The environment with an `ssh` to a server of this test's own, whose shells find the same tools."""
    sshd = shutil.which("sshd", path="/usr/sbin:/usr/bin")
    if sshd is None or os.geteuid() != 0:
        pytest.skip("no sshd that may be started here")
    home = tmp_path / "sshd"
    home.mkdir(mode=0o700)
    Path("/run/sshd").mkdir(exist_ok=True)
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", home / name], check=True)
    (home / "authorized").write_text((home / "user.pub").read_text())
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (home / "config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {home}/host\nAuthorizedKeysFile {home}/authorized\n"
        f"StrictModes no\nUsePAM no\nPidFile {home}/pid\nSetEnv PATH={tools['PATH']}\n"
    )
    server = subprocess.Popen([sshd, "-D", "-e", "-f", home / "config"], stderr=(home / "log").open("w"))
    options = f"-p {port} -i {home}/user -o StrictHostKeyChecking=no -o UserKnownHostsFile={home}/known"
    options += " -o ConnectionAttempts=30 -o LogLevel=ERROR"
    yield tools | {"SSH": f"ssh {options}"}
    server.terminate()
    server.wait()


def test_a_laptops_campaign_labels_on_a_cluster_by_ssh(tmp_path: Path, login_node: dict[str, str]) -> None:
    words = ("remote.sh", campaign(tmp_path, rounds=0), tmp_path / "run", "root@127.0.0.1", tmp_path / "cluster")
    assert "BUDGET" in run(login_node, tmp_path, *words)
    record = check(tmp_path / "run", 3)
    there = {file.stem for file in (tmp_path / "cluster" / "answers").glob("*.extxyz")}
    assert there == {frame.request.name for frame in record.frames}


def test_jobflow_runs_a_campaign_to_its_verdict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("jobflow")
    monkeypatch.chdir(tmp_path)
    jobflow = example("10_jobflow.py")
    assert jobflow.main(str(campaign(tmp_path)), str(tmp_path / "run")) == "BUDGET: 1 rounds of 1 are done"
    check(tmp_path / "run", 3, 2)
    assert jobflow.main(str(tmp_path / "run"), str(tmp_path / "run")).startswith("BUDGET")


def test_aiida_keeps_the_provenance_of_every_label(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("aiida")
    monkeypatch.setenv("AIIDA_PATH", str(tmp_path / "aiida"))
    aiida = example("11_aiida.py")
    assert aiida.main(str(campaign(tmp_path)), str(tmp_path / "run")).startswith("BUDGET")
    record = check(tmp_path / "run", 3, 2)
    assert '"aiida_node"' in record.frames[0].label.read_text()
