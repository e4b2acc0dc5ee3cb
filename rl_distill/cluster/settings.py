"""`cluster:` of a recipe: where it runs, with how many workers, on which devices. No number depends on the algorithm's view."""

from typing import TYPE_CHECKING, Literal

from rl_distill.config import config, one_of, setting

ZeroStage = Literal[0, 1, 2, 3]
DirectTransport = Literal["nccl", "ipc"]


@config
class LocalCluster:
    """Everything in this process."""

    name: Literal["local"] = "local"


@config
class LearnerPlaces:
    """The ranks of a DeepSpeed learner."""

    ranks: int = setting(1, about="processes that share a step's samples", ge=1)
    zero_stage: ZeroStage = setting(
        0, about="what is sharded: 0 nothing, 1 optimizer, 2 gradients too, 3 parameters too", source="arXiv:1910.02054"
    )
    offload: Literal["none", "optimizer", "parameters"] = setting(
        "none",
        about="what lives in host memory: the optimizer, from ZeRO 1 on, or the parameters too, with ZeRO 3",
    )
    gpus: float | None = setting(None, about="GPUs of each rank; none is one where the cluster has any", ge=0)
    cpus: float = setting(1, about="CPU cores reserved for each rank", ge=0)
    threads: int = setting(1, about="threads of each rank's arithmetic on a CPU", ge=1)

    def __post_init__(self) -> None:
        if self.offload == "optimizer" and self.zero_stage == 0:
            raise ValueError("offload optimizer needs zero_stage 1, 2 or 3: set one of them, or offload none")
        if self.offload == "parameters" and self.zero_stage != 3:
            raise ValueError("offload parameters needs zero_stage 3: set it, or offload optimizer")


@config
class WorkerPlaces:
    """Workers that each hold a whole model."""

    workers: int = setting(1, about="processes with a model each", ge=1)
    gpus: float | None = setting(None, about="GPUs of each; none is what it needs where the cluster has any", ge=0)
    cpus: float = setting(1, about="CPU cores reserved for each", ge=0)
    threads: int = setting(1, about="threads of each one's arithmetic on a CPU", ge=1)


@config
class RayCluster:
    """Learner ranks, engines and scorers as processes of a Ray cluster, joined by its address or started for this run."""

    name: Literal["ray"] = "ray"
    address: str | None = setting(None, about="HOST:PORT of a running cluster, or auto to find it; none starts one for this run")
    learner: LearnerPlaces = setting(LearnerPlaces(), about="where the student is trained")
    engine: WorkerPlaces = setting(WorkerPlaces(), about="where attempts are sampled")
    scorer: WorkerPlaces = setting(
        WorkerPlaces(), about="where a reference or a teacher scores them, for algorithms that have one"
    )
    colocate: bool = setting(
        False, about="learner ranks and engine workers share devices, half of one each; else each has its own"
    )
    placement: Literal["pack", "spread"] = setting("pack", about="workers close together, or over as many hosts as there are")
    transport: Literal["object_store", DirectTransport] = setting(
        "object_store",
        about="how weights reach engines: through host memory; or straight from GPU to GPU with engine vllm, by nccl to another "
        "one, by ipc to the one that both share",
    )
    bucket_mib: int = setting(256, about="weights that travel at once; a rank holds its shard and one bucket", unit="MiB", ge=1)
    object_store_mib: int | None = setting(
        None, about="shared memory of a cluster started for this run; none is Ray's choice", unit="MiB", ge=80
    )
    patience_seconds: float = setting(
        1800.0, about="longest wait for one answer of a worker; then it counts as lost", unit="s", gt=0
    )
    retries: int = setting(
        3,
        about="workers that are replaced in a row when the same work costs them their lives, and returns in a row to the last "
        "checkpoint when a learner rank is lost; then the run fails",
        ge=0,
    )

    def __post_init__(self) -> None:
        if self.address is not None and not _is_address(self.address):
            raise ValueError(f"address {self.address!r} is no address of a head node; give HOST:PORT, or auto")
        if self.address is not None and self.object_store_mib is not None:
            raise ValueError("object_store_mib has no effect on a cluster that runs already: drop it, or drop address")
        if self.transport != "object_store":
            self._check_transport()

    def _check_transport(self) -> None:
        if self.transport == "nccl" and self.colocate:
            raise ValueError("transport nccl needs learner and engine on different GPUs: set colocate to false, or use ipc")
        if self.transport == "ipc" and not self.colocate:
            raise ValueError("transport ipc needs learner and engine on the same GPUs: set colocate to true, or use nccl")
        ranks, workers = self.learner.ranks, self.engine.workers
        if self.transport == "ipc" and ranks != workers:
            raise ValueError(
                f"transport ipc goes from each learner rank to the engine worker on its GPU, and there are {ranks} ranks and "
                f"{workers} workers: set learner.ranks and engine.workers to the same number"
            )
        for name, gpus in (("learner", self.learner.gpus), ("engine", self.engine.gpus)):
            if gpus is not None and (gpus != 1 if self.transport == "ipc" else gpus < 1 or gpus % 1):
                raise ValueError(f"transport {self.transport} needs whole GPUs, and {name}.gpus is {gpus:g}: leave it out")


@config
class RowCluster:
    """Processes of a Ray cluster that rows of a curation are shared out to."""

    name: Literal["ray"] = "ray"
    address: str | None = setting(None, about="HOST:PORT of a running cluster, or auto to find it; none starts one here")
    workers: int = setting(2, about="processes that grade at the same time", ge=1)
    rows: int = setting(256, about="attempts that travel together", unit="attempts", ge=1)

    def __post_init__(self) -> None:
        if self.address is not None and not _is_address(self.address):
            raise ValueError(f"address {self.address!r} is no address of a head node; give HOST:PORT, or auto")


def _is_address(text: str) -> bool:
    host, _, port = text.rpartition(":")
    return text == "auto" or (bool(host) and "/" not in host and port.isdecimal() and 0 < int(port) < 2**16)


CLUSTERS: dict[str, type] = {"local": LocalCluster, "ray": RayCluster}
ROW_CLUSTERS: dict[str, type] = {"local": LocalCluster, "ray": RowCluster}
if TYPE_CHECKING:
    AnyCluster = LocalCluster | RayCluster
    AnyRowCluster = LocalCluster | RowCluster
else:
    AnyCluster = one_of(CLUSTERS)
    AnyRowCluster = one_of(ROW_CLUSTERS)
