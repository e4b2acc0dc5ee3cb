from itertools import product

from rl_distill.seeding import addressed_seed


def test_neighbouring_addresses_have_seeds_of_their_own():
    addresses = list(product((0, 1), ("sft", "grpo"), range(20), ("p-1", "p-11"), range(20)))
    assert len({addressed_seed(*address) for address in addresses}) == len(addresses)


def test_parts_of_an_address_never_run_into_each_other_and_types_count():
    alike = [(1, 23), (12, 3), (123,), ("1", 23), ("1", "23"), ("123",), ("1\x1fint:23",), (1, 2, 3), ("",), ("", ""), ()]
    assert len({addressed_seed(*address) for address in alike}) == len(alike)


def test_a_seed_fits_63_bits_and_does_not_depend_on_the_process():
    assert all(0 <= addressed_seed(number) < 2**63 for number in range(1000))
    assert addressed_seed(0, "grpo", 3, "p-17", 2) == 468445403208097210
