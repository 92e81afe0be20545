"""How faults are written."""

import pytest

from agent.errors import UsageError
from agent.media.faults import FAULTS, Fault, parse_fault


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("drop@20", Fault("drop", None, 20, 1)),
        ("stall=2.5@10+3", Fault("stall", 2.5, 10, 3)),
        ("slow=50000", Fault("slow", 50000.0)),
        ("401", Fault("401")),
        ("wrong-length=-48", Fault("wrong-length", -48.0)),
        ("Huge-Header", Fault("huge-header")),
    ],
)
def test_faults_are_read(text: str, fault: Fault) -> None:
    assert parse_fault(text) == fault


@pytest.mark.parametrize("text", ["", "stal", "stall@", "drop=x", "stall=1@2+", "drop@-1", "drop@1 2"])
def test_unknown_faults_name_the_known_ones(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_fault(text)
    assert all(name in str(caught.value) for name in FAULTS)


@pytest.mark.parametrize("text", ["slow", "slow=0", "stall=-1", "drop=3"])
def test_values_that_make_no_sense_are_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_fault(text)


def test_when_a_fault_applies() -> None:
    assert [Fault("drop", None, 2, 2).at(i) for i in range(5)] == [False, False, True, True, False]
    assert [Fault("drop", None, 2).at(i) for i in range(4)] == [False, False, True, True]
