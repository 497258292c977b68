"""The losses of joint fusion against other people's code and against formulas."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from skfusion.fusion import losses
from skfusion.fusion.joint import objective
from skfusion.fusion.joint.network import JointOutputs


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def numbers(rng, *shape, scale=2.0):
    return torch.from_numpy(scale * rng.normal(size=shape))


def test_focal_loss_without_focus_is_cross_entropy(rng):
    outputs = numbers(rng, 30, 4)
    classes = torch.from_numpy(rng.integers(4, size=30))
    expected = nn.CrossEntropyLoss(reduction="none")(outputs, classes)
    torch.testing.assert_close(losses.focal(outputs, classes, gamma=0.0), expected)
    torch.testing.assert_close(losses.cross_entropy(outputs, classes), expected)
    labels = torch.from_numpy(rng.integers(2, size=(30, 4)))
    expected = nn.BCEWithLogitsLoss(reduction="none")(outputs, labels.double()).mean(1)
    torch.testing.assert_close(losses.label_focal(outputs, labels, gamma=0), expected)
    torch.testing.assert_close(losses.label_cross_entropy(outputs, labels), expected)


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_focal_loss_is_the_published_formula(rng, gamma):
    outputs = numbers(rng, 20, 3)
    classes = rng.integers(3, size=20)
    odds = np.exp(outputs.numpy())
    p = (odds / odds.sum(axis=1, keepdims=True))[np.arange(20), classes]
    found = losses.focal(outputs, torch.from_numpy(classes), gamma)
    np.testing.assert_allclose(found, -((1 - p) ** gamma) * np.log(p), rtol=1e-10)
    labels = rng.integers(2, size=(20, 3))
    p = odds / (1 + odds)
    p = np.where(labels == 1, p, 1 - p)
    found = losses.label_focal(outputs, torch.from_numpy(labels), gamma)
    expected = (-((1 - p) ** gamma) * np.log(p)).mean(axis=1)
    np.testing.assert_allclose(found, expected, rtol=1e-10)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_focal_loss_of_a_certain_row_has_a_finite_gradient(gamma):
    outputs = torch.tensor([[800.0, -800.0], [-800.0, 800.0]], requires_grad=True)
    losses.focal(outputs, torch.tensor([0, 0]), gamma).sum().backward()
    assert torch.isfinite(outputs.grad).all()


def test_squared_and_huber_errors_of_one_and_several_numbers(rng):
    outputs, target = numbers(rng, 6, 2), numbers(rng, 6, 2)
    torch.testing.assert_close(
        losses.squared_error(outputs, target), ((outputs - target) ** 2).mean(1)
    )
    single = losses.squared_error(outputs[:, :1], target[:, 0])
    torch.testing.assert_close(single, (outputs[:, 0] - target[:, 0]) ** 2)
    error = (outputs - target).abs()
    expected = torch.where(error < 0.5, error**2 / 2, 0.5 * (error - 0.25)).mean(1)
    torch.testing.assert_close(losses.huber(outputs, target, delta=0.5), expected)


def cox_by_hand(risk, time, event, weight, ties):
    """Go through the event times one by one."""
    total = 0.0
    for moment in np.unique(time[event]):
        at_risk = weight[time >= moment] * np.exp(risk[time >= moment])
        died = event & (time == moment)
        total += (weight[died] * risk[died]).sum()
        share = weight[died].mean()
        for number in range(died.sum()):
            left = at_risk.sum()
            if ties == "efron":
                left -= number / died.sum() * (weight[died] * np.exp(risk[died])).sum()
            total -= share * np.log(left)
    return -total / len(risk)


@pytest.mark.parametrize("ties", ["efron", "breslow"])
def test_cox_loss_is_the_partial_likelihood(rng, ties):
    risk = rng.normal(size=60)
    time = rng.integers(1, 12, size=60).astype(float)  # many ties
    event = rng.random(60) < 0.6
    weight = rng.uniform(0.5, 2.0, size=60)
    target = torch.from_numpy(np.column_stack([time, event]))
    arguments = torch.from_numpy(risk[:, None]), target, torch.from_numpy(weight)
    found = losses.cox_loss(*arguments, ties=ties).item()
    expected = cox_by_hand(risk, time, event, weight, ties)
    assert found == pytest.approx(expected, rel=1e-13)  # in float64 throughout
    order = rng.permutation(60)
    shuffled = losses.cox_loss(*(part[order] for part in arguments), ties=ties).item()
    assert shuffled == pytest.approx(found, rel=1e-13)
    assert objective.CoxLoss(ties)(*arguments).item() == found


def test_cox_loss_agrees_with_the_fit_of_a_known_hazard(rng):
    """The log hazard ratio that minimises it is the one that made the times."""
    x = rng.normal(size=1500)
    time = rng.exponential(np.exp(-0.7 * x))
    event = time < 1.0
    target = torch.from_numpy(np.column_stack([np.minimum(time, 1.0), event]))
    slope = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([slope], max_iter=10)

    def closure():
        optimizer.zero_grad()
        risk = slope * torch.from_numpy(x)[:, None]
        loss = losses.cox_loss(risk, target, torch.ones(1500, dtype=torch.float64))
        loss.backward()
        return loss

    optimizer.step(closure)
    assert slope.item() == pytest.approx(0.7, abs=4 / event.sum() ** 0.5)


@pytest.mark.parametrize("ties", ["efron", "breslow"])
def test_cox_loss_has_the_right_slope(rng, ties):
    risk = torch.from_numpy(rng.normal(size=(30, 1))).requires_grad_()
    time, event = rng.integers(1, 6, 30), rng.random(30) < 0.7
    target = torch.from_numpy(np.column_stack([time, event]).astype(float))
    weight = torch.from_numpy(rng.uniform(0.5, 2.0, size=30))
    assert torch.autograd.gradcheck(
        lambda risk: losses.cox_loss(risk, target, weight, ties), risk
    )


def test_cox_loss_of_a_large_cohort_needs_little_memory(rng):
    n = 50_000  # a matrix of all pairs has 2.5e9 entries
    target = np.column_stack([rng.exponential(size=n), rng.random(n) < 0.3])
    loss = losses.cox_loss(
        numbers(rng, n, 1), torch.from_numpy(target), torch.ones(n).double()
    )
    assert torch.isfinite(loss)


def test_cox_loss_bears_extreme_risks_and_batches_without_events():
    risk = torch.tensor([[900.0], [-900.0], [0.0], [0.0]], requires_grad=True)
    target = torch.tensor([[3.0, 1], [2.0, 1], [5.0, 0], [3.0, 1]])
    weight = torch.ones(4)
    loss = losses.cox_loss(risk, target, weight)
    loss.backward()
    # rows 0 and 3 die together with row 2 at risk: 900 + 899.3 - 900; row 1: 1800
    assert loss.item() == pytest.approx((1800 + 900 - np.log(2)) / 4, rel=1e-6)
    assert torch.isfinite(risk.grad).all()
    nobody = losses.cox_loss(risk, target * torch.tensor([1, 0]), weight)
    assert nobody.item() == 0
    nobody.backward()


def test_hazard_loss_is_the_likelihood_of_discrete_times(rng):
    """Whole intervals: each row survived some, and an event was in the next one."""
    outputs = numbers(rng, 5, 3)
    hazard = 1 / (1 + np.exp(-outputs.numpy()))
    target = torch.tensor(
        [[0, 0, 1], [1, 1, 1], [2, -1, 0], [3, -1, 0], [2, 2, 1]]
    ).double()
    alive = 1 - hazard
    likelihood = [
        hazard[0, 0],
        alive[1, 0] * hazard[1, 1],
        alive[2, 0] * alive[2, 1],
        alive[3].prod(),
        alive[4, 0] * alive[4, 1] * hazard[4, 2],
    ]
    found = losses.hazard_loss(outputs, target)
    np.testing.assert_allclose(found, -np.log(likelihood), rtol=1e-10)


def test_hazard_loss_of_exact_times_is_the_density_of_constant_hazards(rng):
    outputs = numbers(rng, 4, 2)
    rate = np.logaddexp(0, outputs.numpy())  # per interval
    target = torch.tensor(
        [[0.25, -1, 0], [1.75, -1, 0], [0.5, 0, 0], [1.25, 1, 0]]
    ).double()
    expected = [
        0.25 * rate[0, 0],
        rate[1, 0] + 0.75 * rate[1, 1],
        0.5 * rate[2, 0] - np.log(rate[2, 0]),
        rate[3, 0] + 0.25 * rate[3, 1] - np.log(rate[3, 1]),
    ]
    found = losses.hazard_loss(outputs, target)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    # an event in a part of an interval, up to the constant log(0.2)
    part = torch.tensor([[0.5, 0, 0.2]], dtype=torch.float64)
    density = np.exp(-0.5 * rate[0, 0]) - np.exp(-0.7 * rate[0, 0])
    found = losses.hazard_loss(outputs[:1], part).item()
    assert found == pytest.approx(-np.log(density / 0.2), rel=1e-12)


@pytest.mark.parametrize("size", [1e-9, 30.0, 800.0, 1e6])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_hazard_loss_and_its_gradient_are_finite(size, dtype):
    outputs = torch.tensor([[-size, size]] * 4, dtype=dtype, requires_grad=True)
    target = torch.tensor(
        [[0.0, 0, 0], [1.0, 1, 0.5], [2.0, -1, 0], [0.5, 0, 1e-12]], dtype=dtype
    )
    loss = losses.hazard_loss(outputs, target)
    assert torch.isfinite(loss).all()
    loss.sum().backward()
    assert torch.isfinite(outputs.grad).all()


def test_loss_is_the_mean_of_the_weighted_rows(rng):
    outputs, target = numbers(rng, 4, 1), numbers(rng, 4)
    weight = torch.tensor([1.0, 2.0, 0.5, 1.0], dtype=torch.float64)
    found = objective.RowMean(losses.squared_error)(outputs, target, weight).item()
    errors = (outputs[:, 0] - target).numpy() ** 2
    assert found == pytest.approx((errors * weight.numpy()).sum() / 4)
    with pytest.raises(ValueError, match="one value per row, of shape"):
        objective.RowMean(lambda o, t: o)(outputs, target, weight)


def test_joint_loss_is_the_sum_of_its_parts_over_the_rows_that_have_them(rng):
    outputs = JointOutputs(
        numbers(rng, 4, 1), [numbers(rng, 4, 1), numbers(rng, 4, 1)], numbers(rng, 4, 1)
    )
    target, weight = numbers(rng, 4), torch.tensor([1.0, 2.0, 1.0, 3.0]).double()
    present = torch.tensor([[1, 1], [1, 0], [0, 0], [1, 0]]).bool()
    auxiliary = torch.tensor([0.5, torch.nan, 1.0, torch.nan]).double()
    task = objective.RowMean(losses.squared_error)
    shares = [6 / 7, 1 / 7]  # of the modalities, by weight
    loss = objective.JointLoss(task, 0.5, task, 0.25, shares, 2 / 7)
    weight = weight * 4 / 7  # a mean of 1
    found = loss(outputs, target, weight, present, auxiliary)

    def mean(predicted, actual, rows):
        errors = (predicted[rows, 0] - actual[rows]).numpy() ** 2
        return np.average(errors, weights=weight[rows].numpy())

    expected = mean(outputs.fused, target, [0, 1, 2, 3])
    expected += 0.5 * mean(outputs.single[0], target, [0, 1, 3])
    expected += 0.5 * mean(outputs.single[1], target, [0])
    expected += 0.25 * mean(outputs.auxiliary, auxiliary, [0, 2])
    assert found.item() == pytest.approx(expected)
    # The mean over batches is that over all rows, whatever the batches.
    batches = [
        loss(
            JointOutputs(
                outputs.fused[[i]],
                [part[[i]] for part in outputs.single],
                outputs.auxiliary[[i]],
            ),
            *(part[[i]] for part in (target, weight, present, auxiliary)),
        ).item()
        for i in range(4)
    ]
    assert np.mean(batches) == pytest.approx(expected)


def test_joint_loss_bears_a_batch_in_which_nothing_extra_is_known(rng):
    outputs = JointOutputs(numbers(rng, 3, 2), [numbers(rng, 3, 2)], numbers(rng, 3, 2))
    target, weight = torch.tensor([0, 1, 0]), torch.ones(3).double()
    task = objective.RowMean(losses.cross_entropy)
    nothing = torch.zeros(3, 1, dtype=torch.bool), torch.tensor([-1, -1, -1])
    found = objective.JointLoss(task, 1.0, task, 1.0)(outputs, target, weight, *nothing)
    assert torch.equal(found, task(outputs.fused, target, weight))


@pytest.mark.parametrize(
    ("loss", "params", "kind", "words"),
    [
        ("focall", None, "classes", "Did you mean 'focal'"),
        ("huber", None, "classes", "must be one of .'auto'"),
        ("focal", {"gama": 1.0}, "labels", "Did you mean 'gamma'. It knows gamma"),
        ("auto", {"gamma": 1.0}, "classes", "no option 'gamma'.* It knows none"),
        ("focal", {"gamma": -1.0}, "classes", "a number of 0 or more, got -1.0"),
        ("huber", {"delta": "a"}, "numbers", "a number of 0 or more, got 'a'"),
    ],
)
def test_losses_that_do_not_exist(loss, params, kind, words):
    with pytest.raises(ValueError, match=words):
        objective.build_loss(loss, params, kind, "Net")
