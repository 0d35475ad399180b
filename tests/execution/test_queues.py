"""Queues: what the user says of a cluster, and the configuration and job script that Parsl makes of it."""

from __future__ import annotations

import inspect
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tentpole.campaign.preflight import _queue
from tentpole.config.schema import ParslTrainingSection, QueueSection
from tentpole.errors import InputError
from tentpole.execution.queues import Queue, _provider, load_config, parsl_config, worker_init

pytest.importorskip("parsl")

RECORDED = Path(__file__).parent / "recorded"
SLURM = Queue(
    "slurm",
    partition="normal",
    account="p123",
    walltime="12:00:00",
    nodes=2,
    workers=4,
    threads=8,
    jobs=3,
    memory_GB=180,
    modules=("intel/2024", "vasp/6.4.2"),
    setup=("ulimit -s unlimited",),
    options=("#SBATCH --qos=long",),
)


def provider(queue: Queue, folder: Path) -> Any:
    (executor,) = parsl_config({"labels": queue}, folder).executors
    assert executor.max_workers_per_node == queue.workers
    assert executor.cores_per_worker == queue.threads
    assert executor.heartbeat_threshold == queue.lost_after_s
    assert executor.encrypted
    assert executor.interchange_launch_cmd[1] == "-P"
    return executor.provider


def test_slurm_gets_what_was_said(tmp_path: Path) -> None:
    made = provider(SLURM, tmp_path)
    assert type(made).__name__ == "SlurmProvider"
    assert (made.partition, made.account, made.walltime) == ("normal", "p123", "12:00:00")
    assert (made.nodes_per_block, made.init_blocks, made.min_blocks, made.max_blocks) == (2, 0, 0, 3)
    assert (made.cores_per_node, made.mem_per_node) == (32, 180)
    assert "--exclusive" not in made.scheduler_options
    assert "#SBATCH --qos=long" in made.scheduler_options
    assert type(made.launcher).__name__ == "SrunLauncher"


@pytest.mark.parametrize(
    ("queue", "number"),
    [
        (SLURM, "Submitted batch job 77"),
        (replace(SLURM, kind="pbs", options=("#PBS -l place=excl",)), "77.host"),
        (replace(SLURM, kind="lsf", options=("#BSUB -x",), memory_GB=None), "Job <77> is submitted to queue <normal>."),
    ],
    ids=lambda given: given.kind if isinstance(given, Queue) else "",
)
def test_the_job_script_is_the_recorded_one(
    queue: Queue, number: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = provider(queue, tmp_path)
    made.script_dir = str(tmp_path)
    monkeypatch.setattr(made, "execute_wait", lambda command, *_: (0, number + "\n", ""))
    made.submit("run-the-workers", 1, "job")
    (script,) = (path for path in tmp_path.iterdir() if path.is_file())
    text, name = script.read_text(), script.name.removesuffix(".submit")
    head, _, rest = text.partition("export JOBNAME")
    head = head.replace(str(tmp_path), "DIR").replace(name, "JOB").replace(str(Path(sys.executable).parent), "BIN")
    recorded = (RECORDED / f"{queue.kind}.sh").read_text()
    assert [line for line in head.splitlines() if line.strip()] == recorded.splitlines()
    assert "run-the-workers" in rest


def test_pbs_and_lsf_get_the_same_words_in_their_own_language(tmp_path: Path) -> None:
    pbs = provider(Queue("pbs", partition="q", account="a", walltime="01:00:00", workers=2, threads=4), tmp_path)
    assert type(pbs).__name__ == "PBSProProvider"
    assert (pbs.queue, pbs.account, pbs.walltime, pbs.cpus_per_node) == ("q", "a", "01:00:00", 8)
    assert "export OMP_NUM_THREADS=4" in pbs.worker_init
    lsf = provider(Queue("lsf", partition="q", account="a", nodes=3), tmp_path)
    assert type(lsf).__name__ == "LSFProvider"
    for line in ("#BSUB -P a", "#BSUB -q q", "#BSUB -nnodes 3"):
        assert line in lsf.scheduler_options


def test_kubernetes_is_asked_for_pods_of_the_stated_size(monkeypatch: pytest.MonkeyPatch) -> None:
    from parsl import providers

    legal = inspect.signature(providers.KubernetesProvider.__init__)  # itself it needs a cluster's key at once
    asked: dict[str, Any] = {}

    def pods(**keywords: Any) -> str:
        legal.bind(None, **keywords)
        asked.update(keywords)
        return "provider"

    monkeypatch.setattr(providers, "KubernetesProvider", pods)
    queue = Queue("kubernetes", image="lab/tentpole:1", workers=2, threads=4, memory_GB=16, jobs=5)
    assert _provider(queue) == "provider"
    assert asked == json.loads((RECORDED / "kubernetes.json").read_text())


def test_labels_and_training_may_have_queues_of_their_own(tmp_path: Path) -> None:
    gpu = Queue("slurm", partition="gpu", options=("#SBATCH --gres=gpu:1",))
    config = parsl_config({"labels": SLURM, "training": gpu}, tmp_path)
    by_label = {executor.label: executor.provider for executor in config.executors}
    assert by_label["labels"].partition == "normal"
    assert by_label["training"].partition == "gpu"
    assert "#SBATCH --gres=gpu:1" in by_label["training"].scheduler_options
    assert config.usage_tracking == 0
    assert config.retries == 0


def test_a_configuration_of_ones_own_is_taken_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "site.py"
    path.write_text("from parsl import Config\ndef config():\n    return Config(run_dir='mine')\n")
    assert load_config(f"{path}:config").run_dir == "mine"
    with pytest.raises(InputError, match="cannot be loaded: KeyError"):
        load_config(f"{path}:confg")
    with pytest.raises(InputError, match="module:name"):
        load_config("site.py")


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(InputError, match='unknown executor "slrum"; did you mean "slurm"'):
        Queue("slrum")
    with pytest.raises(InputError, match="nodes = 0"):
        Queue("slurm", nodes=0)
    with pytest.raises(InputError, match="#BSUB -M 16GB"):
        Queue("lsf", memory_GB=16)
    with pytest.raises(InputError, match="needs image"):
        Queue("kubernetes")


def test_modules_come_before_the_python_that_is_to_be_used() -> None:
    lines = worker_init(SLURM).splitlines()
    assert [line.split()[0] for line in lines[:3]] == ["module", "module", "export"]
    assert lines[2].startswith("export PATH=")


def test_check_says_whether_jobs_can_be_handed_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    section = ParslTrainingSection(config=f"{tmp_path}/site.py:config")
    assert not _queue("training_executor", section, tmp_path).good
    (tmp_path / "site.py").write_text("from parsl import Config\ndef config():\n    return Config()\n")
    assert _queue("training_executor", section, tmp_path).good
    monkeypatch.setenv("PATH", str(tmp_path))
    lacking = _queue("executor", QueueSection(kind="pbs"), tmp_path)
    assert not lacking.good
    assert "qsub" in lacking.found
    (tmp_path / "qsub").touch(0o755)
    assert _queue("executor", QueueSection(kind="pbs"), tmp_path).good
