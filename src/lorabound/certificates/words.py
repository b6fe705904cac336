"""A certificate in plain sentences: the answer, then the line to beat. For the terminal and the model card."""

from __future__ import annotations

from lorabound.certificates.certificate import Certificate
from lorabound.notation import Bound, rounded_down, rounded_up

_UNLIMITED = "and no limit on new ones follows"


def answer(certificate: Certificate) -> str:
    """How bad it can be, of which predictor, how sure, by what."""
    best, sure = certificate.best, _sure(certificate)
    if "training" in certificate.record:
        return _of_training(certificate)
    if best.silent:
        return (
            f"Nothing is certified ({sure}): no method limits the error of {certificate.name} on new data below 100%. "
            f"It is {percent(best.error)} on the {int(best.bound.n_samples):,} rows that {best.method} uses."
        )
    return (
        f"{certificate.name}: on new data, {best.speaks_of} is wrong on at most {percent(best.limit, up=True)} of the "
        f"rows ({sure}). That is shown by {percent(best.error)} errors on {int(best.bound.n_samples):,} rows "
        f"({best.method})."
    )


def _of_training(certificate: Certificate) -> str:
    """The same for a training loop, whose loss need not be that of classes."""
    best, loss = certificate.best, certificate.record["training"]["loss"]
    measured = {
        "error": f"{percent(best.error)} errors",
        "wrong_tokens": f"{percent(best.error)} wrong tokens",
        "probability": f"{percent(best.error)} of probability on wrong answers",
    }[loss]
    shown = f"{measured} on {int(best.bound.n_samples):,} rows, each tested before the update that used it"
    if best.silent:
        return f"Nothing is certified ({_sure(certificate)}): no limit below 100% follows from {shown}."
    most = percent(best.limit, up=True)
    said = {
        "error": f"is wrong on at most {most} of the rows",
        "wrong_tokens": f"gets at most {most} of the tokens wrong, given the right ones before, on average over rows",
        "probability": f"gives wrong answers a probability of at most {most} on average",
    }[loss]
    return f"{certificate.name}: on new data, {best.speaks_of} {said} ({_sure(certificate)}). That is shown by {shown}."


def evidence(certificate: Certificate) -> list[str]:
    """The line to beat, and the certified gain."""
    said = []
    zero, best, gain = certificate.zero_shot, certificate.best, certificate.gain
    helps = gain is not None and not gain.silent
    if zero is not None:
        without = (
            f"Without an adapter the model is wrong on {percent(zero.error)} of {int(zero.bound.n_samples):,} rows, "
            + (f"and on at most {percent(zero.limit, up=True)} of new ones" if not zero.silent else _UNLIMITED)
        )
        if helps or best.limit < zero.error:
            said.append(f"{without}.")
        else:
            said.append(f"{without}: this certificate does not show that training helps.")
    if gain is not None and helps:
        least = percent(float(gain.value), up=False).rstrip("%")
        said.append(
            f"Training is shown to help: on new data the error of {_gained(certificate)} is lower than without an "
            f"adapter by at least {least} percentage points ({_sure(certificate)})."
        )
    elif gain is not None and zero is None:
        said.append("It is not shown that the adapter does better than the model without one.")
    return said


def _gained(certificate: Certificate) -> str:
    """The predictor whose gain is certified."""
    assert certificate.gain is not None
    return next(one.speaks_of for one in certificate.statements if one.method == certificate.gain_by)


def _sure(certificate: Certificate) -> str:
    return f"{100 * (1 - certificate.delta):.6g}% sure"


def at_most(limit: Bound) -> str:
    """A limit from above in percent, rounded up; "says nothing" where it says nothing as it is shown."""
    return "says nothing" if limit.silent else percent(float(limit.value), up=True)


def percent(share: float, up: bool | None = None) -> str:
    """With one digit behind the point; ``up`` rounds up or down, so that a limit is never shown too good."""
    shown = round(share, 3) if up is None else rounded_up(share) if up else rounded_down(share)
    return f"{100 * shown:.1f}%"
