import pytest

from mtl.balancing import Scheduled


def test_straight_lines_between_points():
    balancer = Scheduled({"a": [[1, 1.0], [3, 2.0], [4, 0.0]], "b": 0.5})
    balancer.bind(["a", "b", "c"])
    assert [float(balancer.combine([1.0, 10.0, 100.0])) for _ in range(6)] == [106.0, 106.0, 106.5, 107.0, 105.0, 105.0]
    assert float(balancer.combine([1.0, 10.0, 100.0], [True, False, True])) == 100.0


def test_subset_and_errors():
    balancer = Scheduled({"a": 2, "b": [[0, 1], [5, 0]]})
    assert balancer.subset(["b"]).get_config() == {"schedules": {"b": [[0.0, 1.0], [5.0, 0.0]]}}
    with pytest.raises(ValueError, match=r"rising steps; got \[\[2, 1\], \[1, 1\]\] for task 'a'"):
        Scheduled({"a": [[2, 1], [1, 1]]})
    with pytest.raises(ValueError, match="weights of at least 0; got -1 for task 'a'"):
        Scheduled({"a": -1})
    with pytest.raises(ValueError, match="Unknown task in the balancer's schedules 'b'"):
        balancer.bind(["a"])
