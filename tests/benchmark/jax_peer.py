"""The works by JAX with Optax, as their own users write them; started by a Python that has both."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
from jax import lax
from jax import numpy as jnp
from serving import serve  # type: ignore[import-not-found]  # it lies beside this file

FOLDER = Path(sys.argv[2])
Loss = Callable[[Any, Any, Any, Any, Any], Any]  # parameters, carried, inputs, targets, key


def weights(random: Any, *sizes: int) -> Any:
    fan = int(np.prod(sizes[:-1]))
    drawn = random.normal(size=sizes) * np.sqrt(2 / fan)
    return {"w": jnp.asarray(drawn, "float32"), "b": jnp.zeros(sizes[-1])}


def dense(layer: Any, x: Any) -> Any:
    return x @ layer["w"] + layer["b"]


def dropped(key: Any, x: Any, rate: float) -> Any:
    return jnp.where(jax.random.bernoulli(key, 1 - rate, x.shape), x / (1 - rate), 0)


def cross_entropy(logits: Any, targets: Any) -> Any:
    return optax.softmax_cross_entropy_with_integer_labels(logits, targets).mean()


def image_batches(size: int, flat: bool) -> Iterator[Any]:
    with np.load(FOLDER / "images.npz") as file:
        inputs, targets = file["inputs"].astype("float32") / 255, file["targets"].astype("int32")
    inputs = inputs.reshape(len(inputs), -1) if flat else inputs.transpose(0, 2, 3, 1).copy()
    random = np.random.default_rng(0)
    while True:
        order = random.permutation(len(inputs))
        for at in range(0, len(order), size):
            places = order[at : at + size]
            yield inputs[places], targets[places]


def small_mlp(random: Any) -> Any:
    def loss(layers: Any, carried: Any, inputs: Any, targets: Any, key: Any) -> Any:
        first, last = layers
        return cross_entropy(dense(last, jax.nn.relu(dense(first, inputs))), targets), carried

    layers = [weights(random, 784, 256), weights(random, 256, 10)]
    return loss, layers, (), optax.adam(2e-3), image_batches(128, flat=True)


def mnist_mlp(random: Any) -> Any:
    def loss(layers: Any, carried: Any, x: Any, targets: Any, key: Any) -> Any:
        keys = jax.random.split(key, 3)
        x = dropped(keys[0], x, 0.2)
        for layer, each in zip(layers[:2], keys[1:], strict=True):
            x = dropped(each, jax.nn.relu(dense(layer, x)), 0.5)
        return cross_entropy(dense(layers[2], x), targets), carried

    layers = [weights(random, 784, 800), weights(random, 800, 800), weights(random, 800, 10)]
    return loss, layers, (), optax.sgd(0.1, momentum=0.9, nesterov=True), image_batches(500, flat=True)


def mnist_cnn(random: Any) -> Any:
    def convolved(layer: Any, x: Any) -> Any:
        x = lax.conv_general_dilated(
            x, layer["w"], (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        window = (1, 2, 2, 1)
        return jax.nn.relu(lax.reduce_window(x + layer["b"], -jnp.inf, lax.max, window, window, "VALID"))

    def loss(layers: Any, carried: Any, x: Any, targets: Any, key: Any) -> Any:
        x = convolved(layers[1], convolved(layers[0], x))
        x = dropped(key, jax.nn.relu(dense(layers[2], x.reshape(len(x), -1))), 0.5)
        return cross_entropy(dense(layers[3], x), targets), carried

    layers = [weights(random, 5, 5, 1, 32), weights(random, 5, 5, 32, 32)]
    layers += [weights(random, 512, 256), weights(random, 256, 10)]
    return loss, layers, (), optax.adam(1e-3), image_batches(500, flat=False)


def char_lstm(random: Any) -> Any:
    tokens = np.load(FOLDER / "tokens.npy").astype("int32")
    vocabulary = int(tokens.max()) + 1
    streams = tokens[: len(tokens) // 64 * 64].reshape(64, -1)

    def batches() -> Iterator[Any]:
        while True:
            for at in range(0, streams.shape[1] - 64, 64):
                yield streams[:, at : at + 64], streams[:, at + 1 : at + 65]

    def loss(layers: Any, carried: Any, inputs: Any, targets: Any, key: Any) -> Any:
        encoded = dense(layers["input"], jax.nn.one_hot(inputs.T, vocabulary))

        def step(states: Any, x: Any) -> Any:
            hidden, cell = states
            i, f, g, o = jnp.split(x + hidden @ layers["hidden"], 4, axis=1)
            cell = jax.nn.sigmoid(f) * cell + jax.nn.sigmoid(i) * jnp.tanh(g)
            hidden = jax.nn.sigmoid(o) * jnp.tanh(cell)
            return (hidden, cell), hidden

        carried, values = lax.scan(step, lax.stop_gradient(carried), encoded)
        return cross_entropy(dense(layers["logits"], values), targets.T), carried

    layers = {
        "input": weights(random, vocabulary, 1024),
        "hidden": weights(random, 256, 1024)["w"] * 0.5,
        "logits": weights(random, 256, vocabulary),
    }
    carried = (jnp.zeros((64, 256)), jnp.zeros((64, 256)))
    return loss, layers, carried, optax.chain(optax.clip_by_global_norm(5), optax.adam(3e-3)), batches()


WORKS = {"small_mlp": small_mlp, "mnist_mlp": mnist_mlp, "mnist_cnn": mnist_cnn, "char_lstm": char_lstm}


@cache
def made(work: str) -> Callable[[int], None]:
    loss, layers, carried, optimizer, batches = WORKS[work](np.random.default_rng(0))
    held: Any = (layers, optimizer.init(layers), carried, jax.random.key(0))

    def changed(held: Any, inputs: Any, targets: Any) -> Any:
        layers, state, carried, key = held
        key, own = jax.random.split(key)
        gradients, carried = jax.grad(loss, has_aux=True)(layers, carried, inputs, targets, own)
        updates, state = optimizer.update(gradients, state, layers)
        return optax.apply_updates(layers, updates), state, carried, key

    step = jax.jit(changed, donate_argnums=0)

    def train(count: int) -> None:
        nonlocal held
        for _ in range(count):
            held = step(held, *next(batches))
        jax.block_until_ready(held)

    return train


def answer(work: str, form: str, count: int) -> float:
    """Give the seconds of so many steps."""
    train = made(work)
    start = time.perf_counter()
    train(count)
    return time.perf_counter() - start


if __name__ == "__main__":
    serve(answer)
