"""Checks of this machine: what is installed, what there is of cores, memory and disk, what can be reached."""

import netrc
import os
import platform
import re
import shutil
import urllib.request
from collections.abc import Sequence
from importlib.metadata import metadata
from pathlib import Path
from tempfile import TemporaryFile
from urllib.parse import urlsplit

from packaging.specifiers import SpecifierSet

from rl_distill.cluster.installation import PACKAGE, installed, libraries
from rl_distill.cluster.machine import this_machine
from rl_distill.doctor.findings import Check, Finding, fail, note, ok
from rl_distill.doctor.subject import Subject
from rl_distill.errors import InputError

GIB = 2**30
EXTRAS = {  # extra -> what is missing without it
    "lora": "student.lora",
    "trl": "the integration with TRL",
}
ENOUGH_DISK, ENOUGH_SHARED_MEMORY = 5 * GIB, GIB
HUB_SECONDS = 5.0


def python(subject: Subject) -> Finding:
    wanted = metadata(PACKAGE)["Requires-Python"] or ""
    if not SpecifierSet(wanted).contains(platform.python_version(), prereleases=True):
        return fail(f"is {platform.python_version()} and must be {wanted}", "make the environment with a newer Python")
    return ok(f"{platform.python_version()} ({platform.system()} {platform.machine()})")


def packages(subject: Subject) -> Sequence[Finding]:
    """What is always needed, in one line if all is well; extras that are absent only switch something off."""
    needed = libraries()
    findings = [fail(str(library), "run pip install -e . again") for library in needed if not library.fits]
    if not findings:
        findings = [ok(", ".join(map(str, needed)))]
    for extra, without in EXTRAS.items():
        for library in libraries(extra):
            remedy = f"run pip install '{PACKAGE}[{extra}]'"
            if library.found is None:
                findings.append(note(f"{library.wanted.name} is not installed, so {without} does not work; {remedy}"))
            elif not library.fits:
                findings.append(fail(f"{library}, so {without} does not work", remedy))
    return findings


def torch_build(subject: Subject) -> Finding:
    import torch

    machine = this_machine()
    if machine.device_bytes:
        names = [torch.cuda.get_device_name(number) for number in range(len(machine.device_bytes))]
        sizes = ", ".join(f"{name} with {amount / GIB:.0f} GiB" for name, amount in zip(names, machine.device_bytes, strict=True))
        return ok(f"{torch.__version__}, CUDA {torch.version.cuda}: {sizes}")
    if torch.version.cuda is not None:
        return note(f"{torch.__version__} is built for CUDA {torch.version.cuda} and finds no GPU; look whether nvidia-smi does")
    if Path("/proc/driver/nvidia").exists():
        return note(f"{torch.__version__} is built without CUDA, and there is an NVIDIA driver; install a CUDA build of torch")
    return ok(f"{torch.__version__}, computes on the CPU")


def cores_and_memory(subject: Subject) -> Finding:
    machine = this_machine()
    return ok(f"{machine.cores} cores, {machine.memory_bytes / GIB:.1f} GiB")


def disk(subject: Subject) -> Sequence[Finding]:
    cache = Path(os.environ.get("RL_DISTILL_CACHE") or Path.home() / ".cache" / "rl_distill")
    return [_room(Path.cwd(), "working folder"), _room(cache, "cache of base students (RL_DISTILL_CACHE)")]


def shared_memory(subject: Subject) -> Finding:
    folder = Path("/dev/shm")
    if not folder.is_dir():
        return note("there is no /dev/shm, so Ray's object store lies on disk and weights travel slowly")
    usage = shutil.disk_usage(folder)
    facts = f"{usage.total / GIB:.1f} GiB in /dev/shm, {usage.free / GIB:.1f} GiB of it free"
    if usage.free < ENOUGH_SHARED_MEMORY:
        return note(f"{facts}: a larger object store lies on disk; start the container with --shm-size, or empty it")
    return ok(facts)


def grader(subject: Subject) -> Finding:
    from rl_distill.rewards.accuracy import Accuracy

    accuracy = Accuracy(workers=1, deadline=30.0)
    right, wrong = accuracy.grade([("x + 1", r"\boxed{1 + x}"), ("x + 1", r"\boxed{x + 2}")])
    if (right.status, wrong.status) != ("correct", "wrong"):
        found = f"1 + x is {right.status} ({right.method} {right.detail}), x + 2 is {wrong.status} ({wrong.method})"
        return fail(f"compared with x + 1, {found}", f"run pip install -e . again: math-verify is {installed('math-verify')}")
    return ok(f"math-verify {installed('math-verify')} grades in a process of its own")


def sandbox(subject: Subject) -> Finding:
    from rl_distill.rewards.sandbox import check_machine

    try:
        check_machine(isolated=True)
    except InputError as error:
        return note(f"the reward unit_tests will not run programs: {error.problem}; {error.remedy}")
    return ok("programs that a model wrote run without network, without other files, in one process")


def hub(subject: Subject) -> Finding:
    from huggingface_hub import constants

    cache = Path(constants.HF_HUB_CACHE)
    models = len(list(cache.glob("models--*"))) if cache.is_dir() else 0
    if constants.HF_HUB_OFFLINE:
        return note(f"offline by HF_HUB_OFFLINE: only folders and the {models} models in {cache} can be loaded")
    try:
        urllib.request.urlopen(urllib.request.Request(constants.ENDPOINT, method="HEAD"), timeout=HUB_SECONDS).close()
    except OSError as error:
        problem = f"{constants.ENDPOINT} does not answer ({error}): only folders and the {models} models in {cache} can be loaded"
        return note(f"{problem}; check the proxy, or set HF_ENDPOINT")
    return ok(f"{constants.ENDPOINT} answers, {models} models in {cache}")


def wandb(subject: Subject) -> Finding:
    asked = subject.recipe.tracking.wandb if subject.recipe is not None else None
    (library,) = libraries("wandb")
    if not library.fits:
        remedy = f"run pip install '{PACKAGE}[wandb]'"
        return fail(str(library), f"{remedy}, or drop tracking.wandb") if asked else note(f"{library}; {remedy} to use it")
    if os.environ.get("WANDB_MODE") == "offline" or (asked and asked.mode == "offline"):
        return ok(f"{library.found}, offline")
    server = os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")
    if os.environ.get("WANDB_API_KEY") or _has_password(urlsplit(server).hostname or ""):
        return ok(f"{library.found}, with a key for {server}")
    remedy = "run `wandb login`, or set tracking.wandb.mode to offline"
    problem = f"{library.found} has no key for {server}"
    return fail(problem, remedy) if asked else note(f"{problem}; {remedy}")


def vllm(subject: Subject) -> Finding:
    from rl_distill.rollout.vllm_config import VllmEngineConfig, check_vllm, installed_vllm

    found = installed_vllm()
    try:
        check_vllm(VllmEngineConfig())
    except InputError as error:
        problem = re.sub("^is 'vllm', but ", "", error.problem)
        return note(f"{problem}; {error.remedy}") if found is None else fail(problem, error.remedy)
    assert found is not None, "check_vllm has found one"
    return ok(f"{' '.join(found)} fits torch {installed('torch')}")


def _room(folder: Path, name: str) -> Finding:
    """Whether a folder, or the nearest one above it that exists, can be written and has room."""
    existing = next(path for path in (folder, *folder.absolute().parents) if path.is_dir())
    try:
        with TemporaryFile(dir=existing):
            pass
    except OSError as error:
        return fail(f"{name} {folder} cannot be written ({error.strerror})", "name a folder that can")
    free = shutil.disk_usage(existing).free
    facts = f"{name} {folder} has {free / GIB:.1f} GiB free"
    return ok(facts) if free >= ENOUGH_DISK else note(f"{facts}; a run with checkpoints of a large model takes more")


def _has_password(host: str) -> bool:
    try:
        return netrc.netrc().authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False


MACHINE_CHECKS = (
    Check(name="python", look=python),
    Check(name="packages", look=packages),
    Check(name="torch", look=torch_build),
    Check(name="machine", look=cores_and_memory),
    Check(name="disk", look=disk),
    Check(name="shared_memory", look=shared_memory),
    Check(name="grader", look=grader),
    Check(name="sandbox", look=sandbox),
    Check(name="hub", look=hub),
    Check(name="wandb", look=wandb),
    Check(name="vllm", look=vllm),
)
