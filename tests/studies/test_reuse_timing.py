"""Interleaved measuring: in turn, the warm-up left out, medians; and what the machine is."""

import json
import platform

import pytest

from autotl.errors import InputError
from studies.reuse.timing import interleaved, machine


def test_medians_of_the_rounds_that_count() -> None:
    figures = {"a": iter([100.0, 1.0, 9.0, 2.0]), "b": iter([100.0, 5.0, 4.0, 50.0])}
    medians = interleaved({name: values.__next__ for name, values in figures.items()}, 3)
    assert medians == {"a": 2.0, "b": 5.0}


def test_candidates_take_turns_in_changing_order() -> None:
    calls: list[str] = []

    def candidate(name: str) -> float:
        calls.append(name)
        return 0.0

    interleaved({name: lambda name=name: candidate(name) for name in "ab"}, 2, n_warmup=1)
    assert "".join(calls) == "abbaab"


def test_no_round_is_refused() -> None:
    with pytest.raises(InputError, match="repeats"):
        interleaved({"a": lambda: 0.0}, 0)


def test_machine_says_what_timings_depend_on_and_no_name() -> None:
    found = machine()
    assert {"processor", "n_cpus", "torch"} <= found.keys()
    assert all(found.values())
    assert not platform.node() or platform.node() not in json.dumps(found)
