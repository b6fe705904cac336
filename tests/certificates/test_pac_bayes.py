"""PAC-Bayes certificates: KL and Monte Carlo against exact values, validity by simulation, what is refused."""

import hashlib
import math
from dataclasses import replace

import mpmath
import numpy as np
import pytest
from scipy import stats

from lorabound.adapters import Head, entries_of, new_adapter
from lorabound.bounds import pac_bayes
from lorabound.certificates import pac_bayes as methods
from lorabound.certificates import recursive
from lorabound.certificates.monte_carlo import draw_errors, drawn_rows, n_draws, seed_of
from lorabound.certificates.posterior import (
    GRID_NATS,
    PRIOR_VARIANCES,
    Posterior,
    frame_of,
    nearest_variance,
    pack,
    unpack,
)
from lorabound.errors import AdapterError, DataError, InputError
from tests.certificates.linear import error_probability, subject_of_points

DELTA = 0.05


def random_posterior(subject, seed=0, spread=0.5):
    random = np.random.default_rng(seed)
    shapes = {name: value.shape for name, value in entries_of(subject.adapter, subject.paid).items()}
    return Posterior(
        frame=subject.start,
        mean={name: random.normal(size=shape).astype(np.float32) for name, shape in shapes.items()},
        variance={name: spread * random.uniform(0.2, 2, shape).astype(np.float32) for name, shape in shapes.items()},
    )


@pytest.fixture(autouse=True)
def few_draws(monkeypatch):
    """Fewer draws than for users: the toys are small."""
    monkeypatch.setattr("lorabound.certificates.monte_carlo._LEAST_DRAWS", 400)
    monkeypatch.setattr("lorabound.certificates.search._LOOKS", 100)
    monkeypatch.setattr("lorabound.certificates.search._MOST_EPOCHS", 1)
    monkeypatch.setattr("lorabound.certificates.search._SHARES", (0.5, 1.0))
    monkeypatch.setattr("lorabound.certificates.search._SCALES", PRIOR_VARIANCES[4:13:8])


@pytest.fixture
def toy():
    """200 points in 6 dimensions whose labels follow a plane, one in ten flipped."""
    return task_of(200, 0)


def task_of(n, seed, dim=6, recipe=None):
    points, labels, _ = population(dim)
    random = np.random.default_rng(seed)
    rows = random.integers(0, len(points), n)
    flip = random.random(n) < 0.1
    return subject_of_points(points[rows], np.where(flip, 1 - labels[rows], labels[rows]), recipe)


def population(dim=6):
    """500 equally likely points, their labels before one in ten is flipped, and the plane that made them."""
    random = np.random.default_rng(12)
    points, plane = random.normal(size=(500, dim)), random.normal(size=dim)
    return points, (points @ plane > 0).astype(int), plane


def true_risk(posterior):
    points, labels, _ = population()
    wrong = error_probability(points, labels, posterior)
    return float(np.mean(0.9 * wrong + 0.1 * (1 - wrong)))


# ---- the distance from the prior


def test_kl_of_a_whole_posterior_has_sixty_digits(toy):
    posterior, prior = random_posterior(toy), {name: 0 * v + 0.3 for name, v in random_posterior(toy).mean.items()}
    prior = {name: value.astype(np.float32) for name, value in prior.items()}
    with mpmath.workdps(60):
        total = mpmath.mpf(0)
        for name, mean in posterior.mean.items():
            for mu, mu0, v in zip(mean.ravel(), prior[name].ravel(), posterior.variance[name].ravel(), strict=True):
                ratio = mpmath.mpf(float(v)) / mpmath.mpf("0.25")
                total += (ratio - 1 - mpmath.log(ratio) + (mpmath.mpf(float(mu)) - mpmath.mpf(float(mu0))) ** 2 * 4) / 2
    assert posterior.kl(prior, 0.25) == pytest.approx(float(total), rel=1e-13)
    each = {name: np.full_like(value, 0.25) for name, value in prior.items()}
    assert posterior.kl(prior, each) == posterior.kl(prior, 0.25)


def test_the_grid_is_a_mixture_that_is_paid_for():
    """The mean of exp(-ln 32) over 32 points is 1: an even mixture, KL(Q || P) <= KL(Q || P_j) + ln 32."""
    assert len(set(PRIOR_VARIANCES)) * math.exp(-GRID_NATS) == pytest.approx(1)


def test_the_nearest_prior_variance_is_the_one_of_least_kl(toy):
    posterior = random_posterior(toy)
    prior = entries_of(toy.start, toy.paid)
    assert posterior.kl(prior, nearest_variance(posterior, prior)) == min(
        posterior.kl(prior, v) for v in PRIOR_VARIANCES
    )
    even = posterior.around(prior, {name: np.full_like(v, 2.0**-9) for name, v in prior.items()})
    assert nearest_variance(even, prior) == 2.0**-9
    assert even.kl(prior, 2.0**-9) == 0


# ---- the draws


def test_the_share_of_errors_is_that_of_the_posterior(toy):
    """Exact: a mean of probits over the rows. 200,000 draws have a standard error of at most 0.0012."""
    posterior = random_posterior(toy)
    expected = error_probability(toy.sample.inputs.values.numpy(), toy.sample.labels, posterior).mean()
    rows = drawn_rows(0, 200, 200_000, 5)
    wrong = draw_errors(toy.pool, toy.sample, posterior, rows, 5)
    assert abs(wrong.mean() - expected) < 4 * 0.0012


def test_draws_of_one_row_are_independent(toy):
    """Two draws of the same example with fresh weights are uncorrelated; with shared weights they would agree."""
    posterior = random_posterior(toy)
    probability = error_probability(toy.sample.inputs.values.numpy(), toy.sample.labels, posterior)
    row = int(np.argmin(abs(probability - 0.5)))
    wrong = draw_errors(toy.pool, toy.sample, posterior, np.full(40_000, row), 5).astype(float)
    assert abs(wrong.mean() - probability[row]) < 4 * 0.5 / 200
    for lag in (1, 2, 7):
        assert abs(np.corrcoef(wrong[:-lag], wrong[lag:])[0, 1]) < 4 / 200


def test_draws_belong_to_their_seed_and_not_to_the_worker(toy, monkeypatch):
    posterior, rows = random_posterior(toy), drawn_rows(0, 200, 12_000, 1)
    once = draw_errors(toy.pool, toy.sample, posterior, rows, 1)
    monkeypatch.setattr(type(toy.pool), "run", lambda self, jobs, do: [(j, do(self.workers[0], j)) for j in jobs[::-1]])
    np.testing.assert_array_equal(draw_errors(toy.pool, toy.sample, posterior, rows, 1), once)
    assert (draw_errors(toy.pool, toy.sample, posterior, rows, 2) != once).any()


def test_rows_are_drawn_evenly_and_the_seed_follows_the_file():
    rows = drawn_rows(10, 30, 100_000, 3)
    assert rows.min() == 10
    assert rows.max() == 29
    assert stats.chisquare(np.bincount(rows - 10)).pvalue > 1e-4
    assert seed_of(b"one", "a") != seed_of(b"two", "a") != seed_of(b"two", "b")
    assert n_draws(50_000) == 500_000


def test_a_score_that_is_no_number_is_an_error(toy):
    posterior = random_posterior(toy)
    broken = replace(posterior, mean={name: np.full_like(v, np.inf) for name, v in posterior.mean.items()})
    assert draw_errors(toy.pool, toy.sample, broken, np.arange(10), 1).all()


# ---- statements


CERTIFY = {
    "free": (methods.certify_data_free, methods.recompute_data_free),
    "half": (methods.certify_data_dependent, methods.recompute_data_dependent),
    "recursive": (recursive.certify_recursive, recursive.recompute_recursive),
}


def certified(subject, which, delta=DELTA):
    certify, recompute = CERTIFY[which]
    return certify(subject, delta), recompute


@pytest.mark.parametrize("which", CERTIFY)
def test_what_is_written_gives_the_same_statement_again(toy, which):
    made, recompute = certified(toy, which)
    again = recompute(toy, made.record, made.files, DELTA)
    assert replace(again, notes=made.notes) == made
    assert made.bound.delta == DELTA
    assert made.bound.n_samples == {"free": 200, "half": 100, "recursive": 200}[which]
    assert made.error < made.limit


@pytest.mark.parametrize("which", ["free", "half"])
def test_the_limit_is_the_bound_of_what_is_in_the_file(toy, which):
    made, _ = certified(toy, which)
    groups = ["mean", "variance"] + (["prior"] if which == "half" else [])
    ((name, content),) = made.files.items()
    found = unpack(content, groups, entries_of(toy.start, toy.paid), made.record["sha256"], name)
    posterior = Posterior(frame=toy.start, mean=found["mean"], variance=found["variance"])
    kl = min(posterior.kl(found.get("prior", entries_of(toy.start, toy.paid)), v) for v in PRIOR_VARIANCES)
    n = {"free": 200, "half": 100}[which]
    expected = pac_bayes(made.error, n, kl + math.log(32), 0.75 * DELTA, made.record["draws"], 0.25 * DELTA)
    assert made.limit == pytest.approx(expected.value, abs=1e-12)


@pytest.mark.parametrize("which", CERTIFY)
def test_a_changed_file_is_refused(toy, which):
    made, recompute = certified(toy, which)
    ((name, content),) = made.files.items()
    changed = bytearray(content)
    changed[-3] ^= 1
    with pytest.raises(AdapterError, match="is not the file of this certificate"):
        recompute(toy, made.record, {name: bytes(changed)}, DELTA)
    with pytest.raises(InputError, match=f"{name} is missing"):
        recompute(toy, made.record, {}, DELTA)


@pytest.mark.parametrize("fault", ["variance", "mean", "shape", "name", "not"])
def test_a_file_that_is_no_posterior_is_refused(toy, fault):
    wanted = entries_of(toy.start, toy.paid)
    groups = {"mean": dict(wanted), "variance": {name: value + 1 for name, value in wanted.items()}}
    if fault == "variance":
        groups["variance"]["fc.lora_B"][2] = 0
    if fault == "mean":
        groups["mean"]["fc.lora_B"] = np.full_like(wanted["fc.lora_B"], np.nan)
    if fault == "shape":
        groups["mean"]["fc.lora_B"] = wanted["fc.lora_B"][1:]
    if fault == "name":
        groups["mean"] = {"fc.lora_A": wanted["fc.lora_B"]}
    content = b"not a file" if fault == "not" else pack(groups)
    with pytest.raises(AdapterError, match="q.safetensors (does not hold|holds|cannot be read)"):
        unpack(content, ("mean", "variance"), wanted, hashlib.sha256(content).hexdigest(), "q.safetensors")


def test_both_factors_are_paid_for_where_no_seed_shows_one():
    adapter = new_adapter({"fc": (6, 4)}, 2, "train_both", 0, "gaussian", 1.0)
    assert set(entries_of(adapter, ("b",))) == {"fc.lora_B"}
    assert set(entries_of(adapter, ("b", "a"))) == {"fc.lora_B", "fc.lora_A"}
    head = Head(name="top", weight=np.ones((2, 4), np.float32), bias=np.ones(2, np.float32))
    headed = frame_of(replace(adapter, head=head), adapter)
    assert set(entries_of(headed, ("b",))) == {"fc.lora_B", "top.weight", "top.bias"}
    assert not headed.head.weight.any()


# ---- validity


def violations(which, repeats):
    """Share of repeats of the whole procedure in which the true risk of what was certified lies above the limit."""
    count = 0
    for seed in range(repeats):
        subject = task_of(80, 1000 + seed)
        made, _ = certified(subject, which, VALIDITY_DELTA)
        ((name, content),) = made.files.items()
        groups = {"free": ("mean", "variance"), "half": ("mean", "variance", "prior"), "recursive": recursive._GROUPS}
        found = unpack(content, groups[which], entries_of(subject.start, subject.paid), made.record["sha256"], name)
        last = "3" if which == "recursive" else ""
        posterior = Posterior(frame=subject.start, mean=found["mean" + last], variance=found["variance" + last])
        count += true_risk(posterior) > made.limit
    return count


VALIDITY_DELTA = 0.2


@pytest.mark.timeout(600)  # seconds alone, minutes where other programs take the cores
@pytest.mark.parametrize("which", CERTIFY)
def test_the_whole_procedure_is_right_as_often_as_it_says(which):
    """200 repeats with the training of the posterior; violations must be within a binomial tail of delta."""
    count = violations(which, 200)
    assert stats.binom.sf(count - 1, 200, VALIDITY_DELTA) > 1e-4, count


def test_rows_that_are_sorted_by_label_are_refused():
    subject = task_of(200, 3)
    order = np.argsort(subject.sample.labels, kind="stable")
    points = subject.sample.inputs.values.numpy()
    sorted_rows = subject_of_points(points[order], subject.sample.labels[order])
    for which in ("half", "recursive"):
        with pytest.raises(DataError, match="the rows are sorted"):
            certified(sorted_rows, which)


@pytest.mark.parametrize(("which", "n"), [("half", 3), ("recursive", 7)])
def test_too_few_rows_are_refused(which, n):
    with pytest.raises(DataError, match="needs at least"):
        certified(task_of(n, 0), which)


def test_excess_of_recursive_stages_is_counted_in_its_classes(toy):
    """p_1 >= p_2 >= p_3, and their mean is that of now - before/2: E = -1/2 + (p_1 + p_2 + p_3)/2."""
    made, _ = certified(toy, "recursive")
    for p in made.record["shares"]:
        assert p[0] >= p[1] >= p[2]
    assert made.error == made.record["shares"][-1][1]
    assert made.record["n_samples"] == [200, 150, 100]


def coins(seed, n=200, dim=400):
    """Labels that are coin flips: whatever is learned, the error on new data is exactly 1/2."""
    random = np.random.default_rng(seed)
    return subject_of_points(random.normal(size=(n, dim)), random.integers(0, 2, n))


def by_heart(worker, sample, rows, first, prior_mean, prior_variance, fit):
    """In place of training: means that learn the labels of ``rows`` by heart, at a KL of about 400 nats."""
    x, y = sample.inputs.values.numpy()[rows], 2 * sample.labels[rows] - 1
    learned = y @ x
    variance = float(first.variance["fc.lora_B"].mean())
    step = (learned * np.sqrt(800 * variance) / np.linalg.norm(learned)).astype(np.float32)[:, None]
    return first.around({"fc.lora_B": prior_mean["fc.lora_B"] + step}, first.variance)


def test_labels_learned_by_heart_are_paid_for(monkeypatch):
    """200 repeats: error 0.1 on the rows, 0.5 on new data. KL left out, or a prior that saw the rows, fails always."""
    monkeypatch.setattr("lorabound.certificates.search.fit_posterior", by_heart)
    monkeypatch.setattr("lorabound.certificates.search._best", lambda candidates, *_: candidates[-1])
    monkeypatch.setattr("lorabound.certificates.search._SHARES", (1.0,))
    wrong, without_kl, seen = 0, 0, 0
    for seed in range(200):
        subject = coins(seed)
        made, _ = certified(subject, "free", VALIDITY_DELTA)
        wrong += made.limit < 0.5
        count = made.record["draws"]
        without_kl += pac_bayes(made.error, 200, 0.0, 0.75 * VALIDITY_DELTA, count, 0.25 * VALIDITY_DELTA).value < 0.5
        if seed < 20:
            ((name, content),) = made.files.items()
            mean = unpack(content, ("mean", "variance"), entries_of(subject.start, subject.paid), made.record["sha256"], name)["mean"]  # fmt: skip
            still = Posterior(frame=subject.start, mean=mean, variance={n: np.full_like(v, 2.0**-23) for n, v in mean.items()})  # fmt: skip
            prior_saw_it = methods._statement(methods.DATA_DEPENDENT, subject, still, mean, 0, content, VALIDITY_DELTA)
            seen += prior_saw_it.limit < 0.5
    assert stats.binom.sf(wrong - 1, 200, VALIDITY_DELTA) > 1e-4, wrong
    assert without_kl > 190
    assert seen == 20
