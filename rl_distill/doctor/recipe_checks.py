"""Checks of what one recipe needs: each asks what `rl-distill train` asks before it starts anything, and more."""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from rl_distill.cluster.memory import check_memory, in_words, store_bytes
from rl_distill.cluster.settings import RayCluster
from rl_distill.doctor.findings import Check, Finding, fail, note, ok
from rl_distill.doctor.subject import Subject
from rl_distill.learning.local_learner import torch_device
from rl_distill.training.preflight import check_devices, check_engine, engine_gpus, idle_workers, ineffective_keys


def recipe(subject: Subject) -> Finding:
    asked = subject.asked
    return ok(f"{asked.name}: {', '.join(stage.name for stage in asked.stages)}; cluster {asked.cluster.name}")


def student(subject: Subject) -> Finding:
    size = subject.size
    frozen = f", adapters of {size.trained:,} beside them" if size.frozen else ""
    return ok(f"{type(subject.skeleton).__name__} with {size.frozen or size.trained:,} weights{frozen}")


def engine(subject: Subject) -> Finding:
    if "engine" not in subject.asked.roles:
        return ok("none, for nothing is sampled")
    check_engine(subject.asked, subject.skeleton)
    return ok(f"{subject.asked.engine.name} can host the student by its configuration")


def devices(subject: Subject) -> Finding:
    """In one process what the stages name, on a cluster what is asked for against what there is."""
    check_devices(subject.asked, subject.machines, subject.size)
    if not subject.runs_on_ray:
        names = {str(torch_device(stage.learner.device)) for stage in subject.asked.stages}
        return ok(f"trains on {', '.join(sorted(names))}")
    from rl_distill.cluster.probe import reserve

    return ok(reserve(subject.settings, engine_gpus=engine_gpus(subject.asked), roles=subject.asked.roles))


def hosts(subject: Subject) -> Finding:
    """That all of them have the same versions is part of looking at them."""
    names = ", ".join(machine.host for machine in subject.machines)
    versions = ", ".join(f"{name} {found}" for name, found in subject.machines[0].versions.items())
    return ok(f"{len(subject.machines)} ({names}) with {versions}")


def memory(subject: Subject) -> Finding:
    settings = subject.settings if subject.runs_on_ray else RayCluster()
    return ok(check_memory(settings, subject.size, subject.machines, subject.asked.roles))


def object_store(subject: Subject) -> Finding:
    from rl_distill.cluster.probe import object_store_bytes

    have, one = object_store_bytes(), store_bytes(subject.size)
    facts = f"{in_words(have)}, and a version of the weights is {in_words(one)}"
    if min(one, subject.settings.bucket_mib * 2**20) > have:
        return fail(f"{facts}: not even one bucket fits", "lower cluster.bucket_mib, or start the cluster with a larger store")
    if 2 * one > have:
        return note(f"{facts}: two versions do not fit, so Ray writes to disk; start the cluster with a larger store")
    return ok(facts)


def workers(subject: Subject) -> Sequence[Finding]:
    return [note(line) for line in idle_workers(subject.asked)] or [ok("every engine worker has a shard in each step")]


def keys(subject: Subject) -> Sequence[Finding]:
    lines = list(ineffective_keys(subject.asked, subject.machines))
    return [note(line) for line in lines] or [ok("every key of cluster has an effect")]


def run_folder(subject: Subject) -> Finding:
    """Written to, without leaving anything, and seen from every host: checkpoints and students travel by path."""
    folder = subject.asked.folder.absolute()
    existing = next(path for path in (folder, *folder.parents) if path.is_dir())
    try:
        with TemporaryDirectory(dir=existing, prefix=".doctor-") as trial:
            unseen = _hosts_without(subject, Path(trial))
    except OSError as error:
        return fail(f"{str(folder)!r} cannot be written ({error.strerror})", "choose another with run_dir=PATH")
    if unseen:
        return fail(f"{str(folder)!r} is not seen by {', '.join(unseen)}", "choose a shared folder with run_dir=PATH")
    return ok(f"{folder} can be written{' and is seen by all hosts' if len(subject.machines) > 1 else ''}")


def _hosts_without(subject: Subject, folder: Path) -> Sequence[str]:
    if len(subject.machines) == 1:
        return ()
    from rl_distill.cluster.roll_call import hosts_without

    return hosts_without(folder)


RECIPE_CHECKS = (
    Check(name="recipe", look=recipe),
    Check(name="student", look=student),
    Check(name="engine", look=engine, needs=("student",)),
    Check(name="devices", look=devices, needs=("student",)),
    Check(name="memory", look=memory, needs=("student",)),
    Check(name="run_folder", look=run_folder),
)
ON_RAY = (
    Check(name="recipe", look=recipe),
    Check(name="student", look=student),
    Check(name="engine", look=engine, needs=("student",)),
    Check(name="hosts", look=hosts, needs=("ray",)),
    Check(name="devices", look=devices, needs=("student", "hosts")),
    Check(name="memory", look=memory, needs=("student", "hosts")),
    Check(name="object_store", look=object_store, needs=("student", "ray")),
    Check(name="workers", look=workers),
    Check(name="keys", look=keys, needs=("hosts",)),
    Check(name="run_folder", look=run_folder),
)
