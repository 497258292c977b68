"""GRU-D and the transformer on grids with gaps, against torch's own and by hand."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from skfusion.fusion import (  # noqa: E402
    GRUDEncoder,
    SequenceTransformer,
    TorchEncoder,  # noqa: E402
)

T, C, H = 5, 3, 8
ENCODERS = [GRUDEncoder, SequenceTransformer]


@pytest.fixture
def grid():
    """Grids (B, T, 3, C) with half of the values observed."""
    torch.manual_seed(0)
    cells = torch.rand(4, T, 3, C)
    cells[:, :, 1] = (cells[:, :, 1] < 0.5).float()
    return cells


@pytest.fixture(params=ENCODERS, ids=lambda kind: kind.__name__)
def encoder(request):
    torch.manual_seed(1)
    return request.param(T * 3 * C, n_steps=T, width=H).eval()


def test_without_gaps_grud_is_a_gru(grid):
    torch.manual_seed(0)
    encoder = GRUDEncoder(T * 3 * C, n_steps=T, width=H)
    torch.nn.init.zeros_(encoder.state_decay.bias)
    grid[:, :, 1], grid[:, :, 2] = 1.0, 0.0
    gru = torch.nn.GRU(2 * C, H, batch_first=True)
    for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
        getattr(gru, f"{name}_l0").data = getattr(encoder.cell, name).data
    expected = gru(torch.cat([grid[:, :, 0], grid[:, :, 1]], dim=2))[1][-1]
    torch.testing.assert_close(encoder(grid.flatten(1)), expected)


def test_grud_is_the_published_formula(grid):
    """Che et al. 2018, equations 10 to 12 and 3, cell by cell in numpy."""
    torch.manual_seed(2)
    encoder = GRUDEncoder(T * 3 * C, n_steps=T, width=H)
    torch.nn.init.normal_(encoder.value_decay)
    weights = {k: v.detach().double().numpy() for k, v in encoder.named_parameters()}
    x, m, delta = (grid[0, :, k].double().numpy() for k in range(3))
    state, last = np.zeros(H), np.zeros(C)
    for t in range(T):
        gamma_x = np.exp(
            -np.maximum(
                0, weights["value_decay"][0] * delta[t] + weights["value_decay"][1]
            )
        )
        gamma_h = np.exp(
            -np.maximum(
                0,
                weights["state_decay.weight"] @ delta[t] + weights["state_decay.bias"],
            )
        )
        mean = 0.0
        x_hat = m[t] * x[t] + (1 - m[t]) * (gamma_x * last + (1 - gamma_x) * mean)
        last = np.where(m[t] == 1, x[t], last)
        state = gamma_h * state
        gates_i = (
            weights["cell.weight_ih"] @ np.r_[x_hat, m[t]] + weights["cell.bias_ih"]
        )
        gates_h = weights["cell.weight_hh"] @ state + weights["cell.bias_hh"]
        r_i, z_i, n_i = np.split(gates_i, 3)
        r_h, z_h, n_h = np.split(gates_h, 3)
        r, z = 1 / (1 + np.exp(-(r_i + r_h))), 1 / (1 + np.exp(-(z_i + z_h)))
        state = (1 - z) * np.tanh(n_i + r * n_h) + z * state
    result = encoder(grid[:1].flatten(1)).detach().numpy()[0]
    np.testing.assert_allclose(result, state, atol=1e-6)


def test_what_was_not_observed_does_not_matter(grid, encoder):
    changed = grid.clone()
    changed[:, :, 0] += 1000 * (1 - grid[:, :, 1])
    torch.testing.assert_close(encoder(changed.flatten(1)), encoder(grid.flatten(1)))


def test_the_transformer_leaves_empty_steps_out(grid):
    encoder = SequenceTransformer(T * 3 * C, n_steps=T, width=H).eval()
    grid[:, 2, 1] = 0.0
    changed = grid.clone()
    changed[:, 2, 2] += 10
    torch.testing.assert_close(encoder(changed.flatten(1)), encoder(grid.flatten(1)))
    changed[:, 3, 1] = 1.0
    assert not torch.allclose(encoder(changed.flatten(1)), encoder(grid.flatten(1)))


def test_order_matters(grid, encoder):
    grid[:, :, 1] = 1.0
    turned = grid.flip(dims=[1])
    assert not torch.allclose(
        encoder(turned.flatten(1)), encoder(grid.flatten(1)), atol=1e-3
    )


def test_the_loss_reaches_every_weight(grid, encoder):
    encoder(grid.flatten(1)).square().sum().backward()
    for name, weights in encoder.named_parameters():
        assert weights.grad is not None, name
        assert weights.grad.abs().sum() > 0, name


def test_a_row_does_not_depend_on_its_batch(grid, encoder):
    alone = torch.cat([encoder(row[None]) for row in grid.flatten(1)])
    torch.testing.assert_close(encoder(grid.flatten(1)), alone)


@pytest.mark.filterwarnings("ignore:.*are random:UserWarning")
def test_it_is_a_module_for_torch_encoder(grid):
    X = grid.flatten(1).double().numpy()
    X[1] = np.nan
    for kind in ENCODERS:
        encoder = TorchEncoder(
            partial(kind, n_steps=T, width=H), standardize=False, random_state=0
        )
        result = encoder.fit_transform(X)
        assert result.shape == (4, H)
        assert np.isnan(result[1]).all()
        assert np.isfinite(result[[0, 2, 3]]).all()


def test_inputs_that_are_no_grid_are_refused():
    for kind in ENCODERS:
        with pytest.raises(ValueError, match="50 inputs are not a grid of 5 steps"):
            kind(50, n_steps=5)
    with pytest.raises(ValueError, match="multiple of n_heads=4, got 10"):
        SequenceTransformer(45, n_steps=5, width=10)
