"""The gated unit of early fusion: its formula, its weights, absent modalities."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.preprocessing import StandardScaler

from skfusion.blocks import Blocks
from skfusion.fusion.early.gated_unit import GatedUnit
from skfusion.fusion.targets import Classes


def two_blocks(n_samples=200, seed=0):
    rng = np.random.default_rng(seed)
    arrays = {
        "a": rng.normal(3, 2, (n_samples, 4)),
        "b": rng.normal(size=(n_samples, 1)),
    }
    y = (arrays["a"][:, 0] > 3).astype(int) ^ (arrays["b"][:, 0] > 0)
    return Blocks(arrays, np.ones((n_samples, 2), dtype=bool)), y


def fitted(blocks, y, sample_weight=None, **parameters):
    target = Classes("me")
    return GatedUnit(**parameters).fit(
        blocks,
        target.encode(y),
        target=target,
        sample_weight=sample_weight,
        random_state=np.random.RandomState(0),
    )


def test_the_join_is_the_formula_in_torch():
    blocks, y = two_blocks()
    unit = fitted(blocks, y, n_units=3)
    x = [
        torch.tensor(StandardScaler().fit_transform(block) / block.shape[1] ** 0.5)
        for block in blocks.arrays.values()
    ]
    together = torch.cat(x, dim=1)
    expected = sum(
        torch.sigmoid(together @ torch.tensor(v) + torch.tensor(c))
        * torch.tanh(x_m @ torch.tensor(w) + torch.tensor(b))
        for x_m, (w, b), (v, c) in zip(x, unit._hidden, unit._gates, strict=True)
    )
    np.testing.assert_allclose(unit.transform(blocks), expected.numpy(), atol=1e-12)


def test_an_absent_modality_adds_nothing_and_cannot_be_seen():
    blocks, y = two_blocks()
    unit = fitted(blocks, y, n_units=3)
    here = np.tile([True, False], (200, 1))
    gone = [
        Blocks({**blocks.arrays, "b": np.full((200, 1), value)}, here)
        for value in (np.nan, 9.0)
    ]
    joined = [unit.transform(version) for version in gone]
    np.testing.assert_array_equal(*joined)
    mean = {**blocks.arrays, "b": np.full((200, 1), blocks.arrays["b"].mean())}
    bias = unit._hidden[1][1]  # what a mean value of b would still add
    assert np.abs(bias).max() > 0
    assert not np.allclose(joined[0], unit.transform(Blocks(mean, here | True)))
    nothing = Blocks(mean, np.zeros((200, 2), dtype=bool))
    np.testing.assert_array_equal(unit.transform(nothing), np.zeros((200, 3)))


def test_gaps_are_the_mean_and_a_constant_is_harmless():
    blocks, y = two_blocks()
    blocks.arrays["a"][::7, 1] = np.nan
    blocks.arrays["a"][:, 2] = 5.0
    unit = fitted(blocks, y, n_units=3)
    filled = np.where(
        np.isnan(blocks.arrays["a"]), np.nanmean(blocks.arrays["a"], axis=0), 0
    ) + np.nan_to_num(blocks.arrays["a"])
    expected = unit.transform(Blocks({**blocks.arrays, "a": filled}, blocks.presence))
    np.testing.assert_allclose(unit.transform(blocks), expected, atol=1e-12)


def test_rows_of_no_weight_are_as_if_they_were_not_there():
    blocks, y = two_blocks()
    weight = (np.arange(200) < 150).astype(float)
    weighted = fitted(blocks, y, weight, n_units=2, max_iter=5)
    part = Blocks({n: b[:150] for n, b in blocks.arrays.items()}, blocks.presence[:150])
    alone = fitted(part, y[:150], n_units=2, max_iter=5)
    np.testing.assert_allclose(
        weighted.transform(blocks), alone.transform(blocks), rtol=1e-5, atol=1e-7
    )


def test_training_lowers_the_loss_and_decay_the_weights():
    blocks, y = two_blocks()
    assert fitted(blocks, y).loss_ < fitted(blocks, y, max_iter=1).loss_
    sizes = [
        sum((w**2).sum() for w, _ in unit._hidden + unit._gates)
        for unit in (fitted(blocks, y), fitted(blocks, y, weight_decay=0.1))
    ]
    assert sizes[1] < sizes[0]


def test_threads_of_torch_do_not_matter_and_are_left_as_they_were():
    blocks, y = two_blocks()
    expected = fitted(blocks, y).transform(blocks)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        np.testing.assert_array_equal(fitted(blocks, y).transform(blocks), expected)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
