"""A certificate in plain sentences: the answer, then the line to beat. For the terminal and the model card."""

from __future__ import annotations

import math

from lorabound.certificates.certificate import Certificate


def answer(certificate: Certificate) -> str:
    """How bad it can be, of which predictor, how sure, by what."""
    best, sure = certificate.best, f"{100 * (1 - certificate.delta):.6g}% sure"
    if best.vacuous:
        return (
            f"Nothing is certified ({sure}): no method limits the error of {certificate.name} on new data below 100%. "
            f"It is {percent(best.error)} on the {int(best.bound.n_samples):,} rows that {best.method} uses."
        )
    return (
        f"On new data, {best.speaks_of} is wrong on at most {percent(best.limit, up=True)} of the rows ({sure}, by "
        f"{best.method}); it was wrong on {percent(best.error)} of {int(best.bound.n_samples):,}."
    )


def evidence(certificate: Certificate) -> list[str]:
    """The line to beat, and the certified gain."""
    said = []
    zero, best = certificate.zero_shot, certificate.best
    if zero is not None:
        beats = (
            "so training is shown to help"
            if best.limit < zero.error
            else "which this certificate does not beat: by it, training is not shown to help"
        )
        said.append(
            f"Without an adapter the model is wrong on {percent(zero.error)} of {int(zero.bound.n_samples):,} rows (at most "
            f"{percent(zero.limit, up=True)} on new data), {beats}."
        )
    if certificate.gain is not None:
        least = float(certificate.gain.value)
        if certificate.gain.vacuous:
            said.append("No gain over the model without an adapter can be certified.")
        else:
            said.append(
                f"The error on new data is at least {percent(least, up=False)} lower than without an adapter "
                f"({100 * (1 - float(certificate.gain.delta or 1)):.6g}% sure, on its own)."
            )
    return said


def percent(share: float, up: bool | None = None) -> str:
    """With one digit behind the point; ``up`` rounds up or down, so that a limit is never shown too good."""
    tenths = share * 1000
    rounded = round(tenths) if up is None else math.ceil(tenths) if up else math.floor(tenths)
    return f"{rounded / 10:.1f}%"
