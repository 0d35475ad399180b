"""Queueing systems by way of Parsl: what the user says of the cluster, turned into Parsl's own configuration."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import Any, ParamSpec, TypeVar

from tentpole.errors import InputError, optional_module, unknown
from tentpole.execution.worker import SAFE_PATH, python_module

P = ParamSpec("P")
T = TypeVar("T")
PROGRAMS = {"slurm": "sbatch", "pbs": "qsub", "lsf": "bsub"}  # what takes jobs, by kind
INTERCHANGE = "interchange.py"  # Parsl's own program between driver and jobs
KINDS = ("slurm", "pbs", "lsf", "kubernetes")


@dataclass(frozen=True)
class Queue:
    """Jobs of a queueing system that carry workers. `partition` is the queue's name in PBS and LSF.

    At most `jobs` jobs of `nodes` nodes run at a time, each node with `workers` workers of `threads` cores;
    they are asked for when there is work and given back when there is none. `modules` are loaded, then `setup`
    lines run, before the workers start; `options` are lines for the head of the job script, such as
    "#SBATCH --gres=gpu:1". A node not heard from for `lost_after_s` is given up, and its labels tried again.
    """

    kind: str
    partition: str = ""
    account: str = ""
    walltime: str = "24:00:00"
    nodes: int = 1
    workers: int = 1
    threads: int = 1
    jobs: int = 1
    memory_GB: int | None = None
    modules: tuple[str, ...] = ()
    setup: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    image: str = ""
    namespace: str = "default"
    lost_after_s: int = 120

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise unknown("executor", self.kind, KINDS)
        for name in ("nodes", "workers", "threads", "jobs", "lost_after_s"):
            if getattr(self, name) < 1:
                raise InputError(f"executor: {name} = {getattr(self, name)}: 1 or more.")
        if self.kind == "lsf" and self.memory_GB:
            raise InputError(
                f"executor: memory_GB = {self.memory_GB}: LSF sites count memory differently; write the line that "
                f'yours wants: options = ["#BSUB -M {self.memory_GB}GB"].'
            )
        if self.kind == "kubernetes" and not self.image:
            raise InputError("executor: kubernetes needs image, a container image that has Tentpole in it.")


def cluster(queue: Queue, folder: Path, label: str = "labels") -> ClusterExecutor:
    """An executor on `queue`; Parsl's logs and job scripts go below `folder`/parsl."""
    return ClusterExecutor(parsl_config({label: queue}, folder))


def parsl_config(queues: dict[str, Queue], folder: Path) -> Any:
    """Parsl's configuration of one or several queues, by label: labels on one, training on another."""
    parsl = _parsl()
    executors = [_high_throughput(label, queue, folder) for label, queue in queues.items()]
    return parsl.Config(
        executors=executors,
        run_dir=str(folder / "parsl"),
        retries=0,  # an attempt is counted and its output kept by whoever asked for the label
        strategy="simple",
        strategy_period=2,
        max_idletime=60.0,
        initialize_logging=True,
    )


def load_config(path: str) -> Any:
    """The user's own Parsl configuration, "module:name" or "file.py:name"; trusted input, it is imported."""
    _parsl()
    place, _, name = path.rpartition(":")
    if not place:
        raise InputError(f'executor: parsl = "{path}" is not of the form "module:name" or "file.py:name".')
    try:
        if place.endswith(".py"):
            namespace: dict[str, Any] = {}
            exec(compile(Path(place).read_text(encoding="utf-8"), place, "exec"), namespace)
            config = namespace[name]
        else:
            config = getattr(import_module(place), name)
    except (OSError, ImportError, AttributeError, KeyError) as error:
        raise InputError(f'executor: parsl = "{path}" cannot be loaded: {type(error).__name__}: {error}.') from None
    return config() if callable(config) else config


class ClusterExecutor(Executor):
    """Parsl's pool as an executor that can be left: on cancellation its jobs are taken back from the queue."""

    def __init__(self, config: Any, label: str = "all") -> None:
        parsl = _parsl()
        from parsl.concurrent import ParslPoolExecutor

        if shutil.which(INTERCHANGE) is None:  # this Python's environment has not been activated
            os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
        if label != "all":
            known = {executor.label: executor for executor in config.executors}
            if label not in known:
                raise unknown("executor", label, known, where="Parsl's configuration")
            config._executors = (known[label],)  # none of the others is started
        self._kernel: Any = parsl.DataFlowKernel(config)  # one of its own: labels and training may each have one
        self._pool = ParslPoolExecutor(dfk=self._kernel)

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Hand the call to Parsl."""
        future: Future[T] = self._pool.submit(fn, *args, **kwargs)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Give the jobs back to the queue, after what was handed in unless `cancel_futures`."""
        kernel, self._kernel = self._kernel, None
        if kernel is None:
            return
        if wait and not cancel_futures:
            kernel.wait_for_current_tasks()
        kernel.cleanup()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.shutdown(cancel_futures=kind is not None)


def _high_throughput(label: str, queue: Queue, folder: Path) -> Any:
    from parsl.executors import HighThroughputExecutor

    return HighThroughputExecutor(
        label=label,
        provider=_provider(queue),
        max_workers_per_node=queue.workers,
        cores_per_worker=queue.threads,
        working_dir=str(folder / "parsl"),
        encrypted=True,  # else whoever reaches the driver's ports can have the workers run anything
        interchange_launch_cmd=[*python_module("tentpole.execution.parent_death"), INTERCHANGE],
        heartbeat_period=max(1, queue.lost_after_s // 4),
        heartbeat_threshold=queue.lost_after_s,
    )


def _provider(queue: Queue) -> Any:
    from parsl import launchers, providers

    cores = queue.workers * queue.threads
    # none to begin with: jobs are asked for when the first label is
    blocks = {"init_blocks": 0, "min_blocks": 0, "max_blocks": queue.jobs, "nodes_per_block": queue.nodes}
    init = worker_init(queue)
    options = "\n".join(queue.options)
    if queue.kind == "slurm":
        launcher = launchers.SrunLauncher() if queue.nodes > 1 else launchers.SimpleLauncher()
        return providers.SlurmProvider(
            partition=queue.partition or None,
            account=queue.account or None,
            walltime=queue.walltime,
            cores_per_node=cores,
            mem_per_node=queue.memory_GB,
            worker_init=init,
            scheduler_options=options,
            exclusive=False,
            launcher=launcher,
            **blocks,
        )
    if queue.kind == "pbs":
        memory = f"mem={queue.memory_GB}gb" if queue.memory_GB else ""
        return providers.PBSProProvider(
            queue=queue.partition or None,
            account=queue.account or None,
            walltime=queue.walltime,
            cpus_per_node=cores,
            select_options=memory,
            worker_init=init,
            scheduler_options=options,
            launcher=launchers.MpiExecLauncher() if queue.nodes > 1 else launchers.SimpleLauncher(),
            **blocks,
        )
    if queue.kind == "lsf":
        return providers.LSFProvider(
            queue=queue.partition or None,
            project=queue.account or None,
            walltime=queue.walltime,
            worker_init=init,
            scheduler_options=options,
            launcher=launchers.JsrunLauncher() if queue.nodes > 1 else launchers.SimpleLauncher(),
            **blocks,
        )
    memory = f"{queue.memory_GB or 4 * queue.workers}Gi"
    return providers.KubernetesProvider(
        image=queue.image,
        namespace=queue.namespace,
        init_cpu=cores,
        max_cpu=cores,
        init_mem=memory,
        max_mem=memory,
        worker_init="; ".join(init.splitlines()),
        **blocks,
    )


def worker_init(queue: Queue) -> str:
    """The lines of the job script before the workers start: modules, this Python, threads, the user's own."""
    lines = [f"module load {module}" for module in queue.modules]
    if queue.kind != "kubernetes":  # an image has its own
        lines.append(f'export PATH="{Path(sys.executable).parent}:$PATH"')
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    lines += [f"export {name}={queue.threads}" for name in names]
    lines.append(f"export {SAFE_PATH}=1")  # jobs start in the user's folder: Python imports nothing from there
    return "\n".join([*lines, *queue.setup])


def _parsl() -> Any:
    return optional_module("parsl", extra="hpc", needed_by="a queueing system")
