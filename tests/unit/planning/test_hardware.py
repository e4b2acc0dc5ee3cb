"""The table of devices: complete, with a source for each number, and refused by name where it cannot help."""

from dataclasses import replace

import numpy as np
import pytest
import yaml

from rl_distill.config import dump
from rl_distill.errors import InputError
from rl_distill.planning.calibration import fitted, non_negative
from rl_distill.planning.hardware import gpu, gpus, read_machine
from rl_distill.planning.work import Speed, Work, seconds


@pytest.mark.parametrize("name", ["H200", "H100", "A100", "L40S", "RTX4090"])
def test_each_number_says_where_it_comes_from(name):
    numbers = gpus()[name].numbers()
    for key in ("memory_bytes", "bandwidth", "flops_bfloat16", "flops_float32", "link"):
        assert numbers[key].origin == "datasheet" and numbers[key].source.startswith("https://")
    assert all(number.source and number.origin in ("datasheet", "assumed") for number in numbers.values())


def test_a_name_is_found_however_it_is_written():
    assert gpu("rtx 4090") is gpu("RTX4090") is gpu("NVIDIA RTX-4090")


def test_an_unknown_gpu_lists_the_known_ones():
    with pytest.raises(InputError, match="--gpu: 'tpu' is not in the table; choose one of H200, H100, A100, L40S, RTX4090"):
        gpu("tpu")


def test_a_plan_can_be_made_for_a_device_of_ones_own(tmp_path):
    path = tmp_path / "mi300.yaml"
    row = {name: 1e12 for name in ("memory_bytes", "bandwidth", "flops_bfloat16", "flops_float32", "link", "network")}
    path.write_text(yaml.safe_dump(row))
    found = read_machine(path)
    assert (
        found.name == "mi300" and found.bandwidth.value == 1e12 and found.learn_flops_fraction == gpu("H100").learn_flops_fraction
    )
    path.write_text(yaml.safe_dump({"hardware": dump(gpu("A100"))}))
    assert read_machine(path) == gpu("A100")


def test_a_rate_may_be_written_in_short(tmp_path):
    path = tmp_path / "machine.yaml"
    names = ("memory_bytes", "bandwidth", "flops_bfloat16", "flops_float32", "link", "network")
    path.write_text("\n".join(f"{name}: 1e12" for name in names))
    assert read_machine(path).bandwidth.value == 1e12


def test_processes_crowd_a_cpu_up_to_its_cores_and_then_share_them():
    number = gpu("H100").bandwidth
    crowded = replace(gpu("H100"), kind="cpu", devices_per_host=replace(number, value=3), crowding=replace(number, value=1.5))
    assert [crowded.slowdown(count) for count in (0, 1, 2, 3, 6)] == [1.0, 1.0, 1.25, 1.5, 3.0]
    assert gpu("H100").slowdown(64) == 1.0


@pytest.mark.parametrize(
    ("text", "said"), [("{bandwith: 1}", "bandwith"), ("3", "holds no mapping"), ("{bandwidth: fast}", "bandwidth")]
)
def test_a_file_that_describes_no_device_is_refused(tmp_path, text, said):
    path = tmp_path / "machine.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=said):
        read_machine(path)


def test_the_fit_finds_the_speed_that_made_the_times():
    drawn = np.random.default_rng(0)
    matmul, bandwidth = 5e10, 2e10
    fractions = np.geomspace(0.2, 1.2, 12), np.geomspace(0.05, 1.0, 12)
    speed = Speed(
        pass_seconds=1e-3,
        layer_seconds=3e-4,
        value_seconds=2e-9,
        flops=matmul * fractions[0][7],
        bandwidth=bandwidth * fractions[1][5],
    )
    works = [
        Work(
            passes=30,
            layers=30 * layers,
            flops=10 ** drawn.uniform(7, 11),
            bytes=10 ** drawn.uniform(6, 10),
            values=10 ** drawn.uniform(5, 8),
        )
        for layers in (1, 2, 4, 8) * 6
    ]
    taken = [seconds(work, speed) + 1e-5 * place for place, work in enumerate(works)]
    fit = fitted(works, list(range(len(works))), taken, matmul=matmul, bandwidth=bandwidth)
    assert fit.error < 1e-6 and fit.attempt_seconds == pytest.approx(1e-5)
    assert (fit.flops, fit.bandwidth) == (pytest.approx(speed.flops), pytest.approx(speed.bandwidth))
    assert (fit.pass_seconds, fit.layer_seconds) == (pytest.approx(1e-3), pytest.approx(3e-4))


def test_no_coefficient_is_negative():
    rows = np.array([[1.0, 1.0], [1.0, 2.0], [1.0, 3.0]])
    found, _ = non_negative(rows, np.array([3.0, 2.0, 1.0]))
    assert found[1] == 0 and found[0] == pytest.approx(2.0)


def test_a_number_may_not_be_negative():
    with pytest.raises(ValueError):
        replace(gpu("H100").bandwidth, value=-1.0)
