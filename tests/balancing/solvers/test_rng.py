import tensorflow as tf

from mtl.balancing.balancer import State
from mtl.balancing.solvers.rng import Rng


def keep(variable, value):
    variable.assign(tf.cast(value, variable.dtype))


def test_draws_follow_the_seed_and_the_step():
    draws, state = Rng(first := State(), 5), [5, 0]
    seeds = [draws.next(keep).numpy().tolist() for _ in range(3)]
    assert seeds == [state, [5, 1], [5, 2]]
    assert [int(value) for value in first.get_weights()] == [3]
    graph = Rng(State(), 5)
    function = tf.function(lambda: graph.next(keep))
    assert [function().numpy().tolist() for _ in range(3)] == seeds
