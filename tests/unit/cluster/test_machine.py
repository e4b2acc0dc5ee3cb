"""What a machine says of itself, and which differences between hosts are refused."""

import pytest

from rl_distill.cluster.installation import installed, libraries
from rl_distill.cluster.machine import MUST_AGREE, check_same_versions, this_machine
from rl_distill.errors import InputError


def test_this_machine_names_a_version_of_everything_that_must_agree():
    machine = this_machine()
    assert set(machine.versions) == set(MUST_AGREE)
    assert machine.versions["torch"] == installed("torch") and machine.cores >= 1 and machine.memory_bytes > 2**28


@pytest.mark.parametrize("name", MUST_AGREE)
def test_a_difference_in_any_of_them_is_refused_with_both_values_and_the_host(name):
    here = this_machine()
    check_same_versions("other", here.versions)
    with pytest.raises(InputError) as refused:
        check_same_versions("other", here.versions | {name: "0.0.1"})
    assert f"{name} is 0.0.1 on host other and {here.versions[name]} on {here.host}" in str(refused.value)


def test_the_metadata_of_the_package_gives_what_it_needs_always_and_what_an_extra_adds():
    always = {library.wanted.name for library in libraries()}
    assert {"torch", "transformers", "pydantic"} <= always
    assert {library.wanted.name for library in libraries("cluster")} == {"ray", "deepspeed", "psutil", "pandas"}
    assert all(library.fits for library in libraries())
