"""The joins as modules: against their formulas, and which choices are refused."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from torch import nn

from skfusion.fusion.joint import joins
from skfusion.fusion.joint.joins import build_join, check_join, joined_names

WIDTH = 8
NAMES = ("ct", "cxr", "labs", "vitals", "notes", "ecg", "demo")
NAMED = ("concat", "sum", "gated", "low_rank", "film", "attention")


def nested(n_modalities):
    """Pairs first, and what is left over with them."""
    names = NAMES[:n_modalities]
    pairs = [names[i : i + 2] for i in range(0, n_modalities, 2)]
    return tuple(pair if len(pair) == 2 else pair[0] for pair in pairs)


def build(fusion, n_modalities=3, params=None, width=WIDTH, widths=None):
    torch.manual_seed(0)
    names = NAMES[:n_modalities]
    check_join(fusion, params, names, "Net")
    join = build_join(
        fusion,
        params,
        widths or dict.fromkeys(names, width),
        dropout=0.1,
        conditioned=names[0],
        owner="Net",
    )
    return join.double().eval()


def rows(n_modalities=3, n_rows=5):
    generator = torch.Generator().manual_seed(1)
    shape = (n_rows, n_modalities, WIDTH)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def ask(join, representations):
    present = torch.ones(representations.shape[:2], dtype=torch.bool)
    if isinstance(join, joins.Concatenation):
        representations = representations.unbind(1)
    return join(representations, present)


@pytest.mark.parametrize("n_modalities", [1, 2, 3, 7])
@pytest.mark.parametrize("fusion", [*NAMED, "nested"])
def test_every_modality_reaches_the_joined_vector(fusion, n_modalities):
    fusion = nested(n_modalities) if fusion == "nested" else fusion
    join = build(fusion, n_modalities)
    inputs = rows(n_modalities).requires_grad_()
    joined = ask(join, inputs)
    assert joined.shape == (5, join.n_features)
    joined.pow(2).sum().backward()
    assert (inputs.grad.abs().sum(dim=(0, 2)) > 0).all()
    assert all(weights.grad is not None for weights in join.parameters())


@pytest.mark.parametrize("fusion", [*NAMED, "nested"])
def test_a_row_is_joined_alike_whatever_stands_beside_it(fusion):
    join = build(nested(3) if fusion == "nested" else fusion)
    inputs = rows()
    whole = ask(join, inputs)
    torch.testing.assert_close(ask(join, inputs[[3]]), whole[[3]])
    torch.testing.assert_close(ask(join, inputs.flip(0)), whole.flip(0))
    restored = pickle.loads(pickle.dumps(join))
    assert torch.equal(ask(restored, inputs), whole)


def test_concatenation_and_sum_are_what_they_say():
    inputs = rows()
    assert torch.equal(ask(build("concat"), inputs), inputs.flatten(1))
    assert torch.equal(ask(build("sum"), inputs), inputs.sum(1))


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


@pytest.mark.parametrize("n_modalities", [2, 3])
def test_gated_unit_is_the_published_formula(n_modalities):
    join, inputs = build("gated", n_modalities), rows(n_modalities)
    weights = [layer.weight.detach().numpy() for layer in join.transforms]
    gates = join.gates.weight.detach().numpy()
    for row, joined in zip(inputs.numpy(), ask(join, inputs).detach(), strict=True):
        hidden = [np.tanh(W @ x) for W, x in zip(weights, row, strict=True)]
        z = sigmoid(gates @ np.concatenate(row))
        if n_modalities == 2:
            expected = z * hidden[0] + (1 - z) * hidden[1]
        else:
            z = z.reshape(n_modalities, WIDTH)
            expected = sum(z[m] * hidden[m] for m in range(n_modalities))
        np.testing.assert_allclose(joined, expected, rtol=1e-12)


@pytest.mark.parametrize("n_modalities", [2, 3])
def test_low_rank_fusion_is_the_explicit_tensor_product(n_modalities):
    join = build("low_rank", n_modalities, {"rank": 3})
    inputs = rows(n_modalities)
    extended = torch.cat([inputs, torch.ones(5, n_modalities, 1)], dim=2).double()
    letters = "ijk"[:n_modalities]
    # outer product of the extended vectors, and the weight tensor of that rank
    outer = torch.einsum(
        ",".join("b" + x for x in letters) + "->b" + letters, *extended.unbind(1)
    )
    weight = torch.einsum(
        ",".join(f"r{x}o" for x in letters) + f"->{letters}o", *join.factors
    )
    expected = torch.einsum(f"b{letters},{letters}o->bo", outer, weight) + join.bias
    torch.testing.assert_close(ask(join, inputs), expected)


@pytest.mark.parametrize("n_modalities", [2, 7])
def test_low_rank_fusion_starts_well_scaled_with_many_modalities(n_modalities):
    joined = ask(build("low_rank", n_modalities), rows(n_modalities, n_rows=200))
    assert 0.3 < joined.std().item() < 10


def test_film_scales_and_shifts_the_conditioned_modality():
    join, inputs = build("film", params={"conditioned": "cxr"}), rows()
    others = torch.cat([inputs[:, 0], inputs[:, 2]], dim=1)
    first, _, second = join.modulate
    modulation = second(torch.relu(first(others)))
    scale, shift = modulation[:, :WIDTH], modulation[:, WIDTH:]
    expected = inputs[:, 1] + scale * inputs[:, 1] + shift
    torch.testing.assert_close(ask(join, inputs), expected)
    assert build("film", params={"bottleneck": 3}).modulate[0].out_features == 3


def test_attention_knows_which_modality_a_token_is():
    join, inputs = build("attention"), rows()
    swapped = inputs[:, [1, 0, 2]]
    assert not torch.allclose(ask(join, swapped), ask(join, inputs))
    with torch.no_grad():
        join.types.zero_()
    torch.testing.assert_close(ask(join, swapped), ask(join, inputs))


def test_attention_takes_heads_and_layers():
    join = build("attention", params={"heads": 2, "layers": 3})
    assert len(join.layers) == 3
    assert join.layers[0].self_attn.num_heads == 2
    assert build("attention", width=7).layers[0].self_attn.num_heads == 1


def test_gradual_fusion_lets_inner_groups_meet_first():
    fusion = (("ct", "cxr"), "labs")
    join, inputs = build(fusion), rows()
    joined = ask(join, inputs)
    layer = join.members[0].meet[1]
    met = torch.relu(layer(inputs[:, :2].flatten(1)))
    torch.testing.assert_close(joined, torch.cat([met, inputs[:, 2]], dim=1))
    deeper = build((("ct", ("cxr", "labs")), "vitals"), 4)
    moved = rows(4)
    before = ask(deeper, moved)
    moved[:, 2] += 1
    after = ask(deeper, moved)
    assert not torch.allclose(after[:, :WIDTH], before[:, :WIDTH])
    assert torch.equal(after[:, WIDTH:], before[:, WIDTH:])


class Product(nn.Module):
    """A join of one's own."""

    def __init__(self, n_modalities, width, power=1):
        super().__init__()
        self.layer = nn.Linear(width, 2 * width)
        self.power = power

    def forward(self, representations, present):
        return self.layer(representations.prod(dim=1) ** self.power)


def test_a_join_of_ones_own_takes_options():
    join = build(Product, params={"power": 2})
    assert join.n_features == 2 * WIDTH
    assert join.power == 2


class Changed(Product):
    change = staticmethod(lambda joined: joined)

    def forward(self, representations, present):
        return self.change(super().forward(representations, present))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda x: x[:, None], r"got \(2, 1, 16\) for 2 rows"),
        (lambda x: x[:1], r"got \(1, 16\) for 2 rows"),
        (lambda x: x.detach().numpy(), r"must return one vector per row"),
        (lambda x: x / 0, "not finite"),
        (lambda x: x.detach(), "carries no gradient"),
    ],
)
def test_a_bad_join_of_ones_own_is_refused(change, words):
    kind = type("Bad", (Changed,), {"change": staticmethod(change)})
    with pytest.raises(ValueError, match=words):
        build(kind)


@pytest.mark.parametrize(
    ("fusion", "params", "error", "words"),
    [
        ("gatd", None, ValueError, "got 'gatd'. Did you mean 'gated'"),
        ("low_rank", {"ranks": 2}, ValueError, "Did you mean 'rank'. It knows rank"),
        ("sum", {"rank": 2}, ValueError, "no option 'rank'.* It knows none"),
        ("low_rank", {"rank": 0}, ValueError, "must be an integer of 1 or more, got 0"),
        ("attention", {"heads": 3}, ValueError, "does not divide the width 8"),
        ("film", {"conditioned": "CT"}, ValueError, "'CT' is not a modality"),
        ("sum", 3, TypeError, "must be a dict or None, got int"),
        (("ct", "cxr"), None, ValueError, r"omits \['labs'\]"),
        (("ct", "cxr", "labs", "ct"), None, ValueError, r"contains \['ct'\] more than"),
        (("ct", "cxr", "lab"), None, ValueError, "Did you mean 'labs'"),
        ((("ct",), "cxr", "labs"), None, ValueError, "2 or more members, got 1"),
        (("ct", "cxr", 3), None, TypeError, "names and tuples of them, got int"),
        (("ct", "cxr", "labs"), {"rank": 2}, ValueError, "take no join_params"),
        (3, None, TypeError, "got int"),
        (Product(3, WIDTH), None, TypeError, "returns a new module, got Product"),
        (lambda m, d: None, None, TypeError, "return a torch.nn.Module, got NoneType"),
    ],
)
def test_choices_that_make_no_sense(fusion, params, error, words):
    with pytest.raises(error, match=words):
        build(fusion, params=params)


@pytest.mark.parametrize("fusion", ["sum", "gated", (("ct", "cxr"), "labs"), Product])
def test_unequal_widths_are_named_by_modality(fusion):
    widths = {"ct": 8, "cxr": 8, "labs": 5}
    with pytest.raises(ValueError, match="ct has 8, cxr has 8, labs has 5"):
        build(fusion, widths=widths)
    join = build("concat", widths=widths)
    assert join.n_features == 21
    names = joined_names("concat", widths, 21)
    assert names[0] == "ct__h0"
    assert names[-1] == "labs__h4"
    assert joined_names("sum", widths, 2) == ["joined0", "joined1"]
