"""The page of a recommendation: the answer, lines to copy, two charts, the candidates, the guarantee, the way there."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lorabound import __version__
from lorabound.certificates.plain import CHOSEN, exact, plain
from lorabound.notation import says_nothing
from lorabound.recommendations import Recommendation
from lorabound.reports.frame import PAGE, framed, rows_of, write_html
from lorabound.reports.peft_code import peft_code, scored
from lorabound.reports.recommendation import (
    answer_sentences,
    certify_command,
    cost_sentence,
    legend,
    more_data_sentence,
    own_limit_said,
    own_limit_sentence,
    percent,
    sure,
    verify_command,
)
from lorabound.reports.recommendation_charts import error_against_rows, forecast_against_rank
from lorabound.reports.recommendation_settings import settings_read
from lorabound.reports.sentences import ceiled


def write_recommendation_page(made: Recommendation, page: str | Path | None = None) -> Path:
    """Write the page of a recommendation; returns its path.

    Args:
        page: file to write; None writes ``report.html`` in the folder of the recommendation.
    Raises:
        InputError: a file of this name that is no page of ours.
        OutputError: the file cannot be written.
    """
    return write_html(page or Path(made.folder) / PAGE, recommendation_page(made))


def recommendation_page(made: Recommendation) -> str:
    """The HTML of a recommendation's page."""
    rows, ranks = error_against_rows(made), forecast_against_rank(made)
    charts = [
        {
            "name": "rows",
            "title": f"{_capital(made.error_name)} by training rows",
            "sentences": _rows_sentences(made, rows.outside),
            "said": f"{made.error_name} of all pilots against training rows; the numbers stand under All candidates",
        },
        {
            "name": "ranks",
            "title": f"Forecast {made.error_name} by rank",
            "sentences": _ranks_sentences(made, ranks.outside),
            "said": f"forecast {made.error_name} against rank, a line per mode; the numbers stand under All candidates",
        },
    ]
    return framed(
        "recommendation.html.j2",
        {"chart-rows": rows.spec, "chart-ranks": ranks.spec},
        made=made,
        answer=[one for one in answer_sentences(made) if one != own_limit_sentence(made)],
        own_limit="" if made.own_limit is None or says_nothing(made.own_limit) else f"{own_limit_said(made)}.",
        verify=verify_command(made),
        tiles=_tiles(made),
        code_lines=peft_code(made),
        scored=scored(Path(made.adapter)),
        certify=certify_command(made),
        charts=charts,
        rules=_rules(made),
        level=f"{made.best.forecast.level:.0%}",
        legend=" ".join(legend(made)),
        candidates=_candidates(made),
        modes=", ".join(dict.fromkeys(one.mode for one in made.options)),
        guaranteed=made.limit is not None and not says_nothing(float(made.limit.value)),
        limit=_limit(made),
        rows_said=_use_of_rows(made),
        steps=_steps(made),
        cost=cost_sentence(made),
        trials=_trials(made),
        again=_in_lines(made.origin.command),
        report=shlex.join(["lorabound", "report", made.folder]),
        settings=settings_read(made.settings),
        version=__version__,
    )


def _tiles(made: Recommendation) -> list[dict[str, str]]:
    now = made.best.forecast
    tiles = [
        {
            "name": f"forecast {made.error_name} on new data",
            "value": f"{now.value:.3f}",
            "beside": f"{now.low:.3f} to {now.high:.3f} ({now.level:.0%} interval)",
        },
        {
            "name": f"{made.error_name} without an adapter",
            "value": f"{made.zero_shot:.3f}",
            "beside": f"measured on {made.n_test:,} rows",
        },
    ]
    if made.limit is not None and not says_nothing(float(made.limit.value)):
        tiles.append(
            {
                "name": "guaranteed at most",
                "value": ceiled(float(made.limit.value)),
                "beside": f"{sure(made)}, for {made.limit_of.rstrip(',')}",
            }
        )
    return [
        *tiles,
        {
            "name": "chance that no other candidate",
            "value": percent(made.best.close),
            "beside": "is better by more than 0.005",
        },
    ]


def _rows_sentences(made: Recommendation, outside: str) -> list[str]:
    now = made.best.forecast
    said = (
        f"Points with bars: {made.error_name} of the pilots on test rows, with {now.level:.0%} intervals. Small open "
        "points on dotted lines: the same on their own training rows. Candidates of one size stand side by side, small "
        f"ranks first and lighter. Thick: the recommended candidate. Dashed, with a band: its forecast "
        f"({now.level:.0%} interval). Touch or point at a mark for its numbers."
    )
    return [line for line in (said, more_data_sentence(made), outside) if line]


def _ranks_sentences(made: Recommendation, outside: str) -> list[str]:
    level = made.best.forecast.level
    said = (
        f"Forecast after training on {made.best.forecast.n_train:,} rows. Bands: {level:.0%} intervals. Ring: the "
        "recommended candidate. Dotted lines: ranks that public rules give, with a triangle at their forecast for "
        "training A and B."
        if made.rules
        else f"Forecast after training on {made.best.forecast.n_train:,} rows. Bands: {level:.0%} intervals. Ring: the "
        "recommended candidate."
    )
    return [line for line in (said, outside) if line]


def _rules(made: Recommendation) -> list[dict[str, Any]]:
    return [
        {
            "name": rule.name,
            "rank": f"{rule.rank:,}",
            "source": rule.source,
            "linked": rule.source.startswith("https://"),
            "forecast": (f"{rule.forecast.value:.3f}", f"{rule.forecast.low:.3f} to {rule.forecast.high:.3f}")
            if rule.forecast
            else ("none", ""),
        }
        for rule in made.rules
    ]


def _candidates(made: Recommendation) -> dict[str, Any]:
    level = f"{made.best.forecast.level:.0%} interval"
    heads = (
        *(
            "candidate",
            "rank",
            "forecast",
            level,
            "chance best",
            "test error",
            level,
            "on rows",
            "training error",
            "runs",
        ),
        *("learning rate", "trained parameters"),
    )
    rows = [
        (
            f"{'> ' if one is made.best else '~ ' if one.within_noise else ''}{one.mode}",
            one.rank,
            f"{one.forecast.value:.3f}",
            f"{one.forecast.low:.3f} to {one.forecast.high:.3f}",
            percent(one.close),
            f"{one.measured.value:.3f}",
            f"{one.measured.low:.3f} to {one.measured.high:.3f}",
            f"{one.measured.n_train:,}",
            f"{one.train:.3f}",
            one.n_seeds,
            f"{one.lr:.3g}",
            f"{one.n_params:,}",
        )
        for one in made.options
    ]
    kinds = ["best" if one is made.best else "alike" if one.within_noise else "" for one in made.options]
    return {"heads": heads, "rows": rows_of(rows, kinds)}


def _limit(made: Recommendation) -> dict[str, Any]:
    """The limit, what it is made of, and what must be true for it, in plain words."""
    limit = made.limit
    if limit is None:
        said = f"No limit on the {made.error_name} on new data was worked out."
        return {"sentences": [said], "holds_if": [], "exact": ""}
    n_rows, delta = round(float(limit.n_samples)), float(limit.delta or 0)
    measured, margin = (float(value) for value in limit.terms.values())
    choice = (
        f"These rows also chose: {made.n_choices:,} adapters could have been recommended (candidates, learning rates "
        f"and training sizes), and the limit of each may fail with probability {delta:.2g}. So all of them hold "
        f"together with probability {sure(made).removesuffix(' sure')}, and with them that of the chosen one."
    )
    if says_nothing(float(limit.value)):
        said = (
            f"{n_rows:,} test rows are too few to show that the {made.error_name} on new data is below 1, with the "
            "choice counted. More rows for testing change that."
        )
        return {"sentences": [said, choice], "holds_if": [], "exact": ""}
    sentences = [
        f"The {made.error_name} of {made.limit_of.rstrip(',')} is at most {ceiled(float(limit.value))} on new data, "
        f"with probability {sure(made).removesuffix(' sure')}. On {n_rows:,} rows that it was not trained on it was "
        f"{measured:.3f}; {margin:.3f} more cover the chance of these rows.",
        choice,
        *([made.limit_if] if made.limit_if else []),
    ]
    if made.refit:
        sentences.append(
            f"The adapter in the folder was trained anew on all {made.adapter_rows:,} rows, so no row is left to test "
            f"it: the limit is that of {made.limit_of.rstrip(',')}. More rows mostly help; that is no guarantee."
        )
    drawn = plain(term for term in limit.assumptions if term != CHOSEN)
    settled = (
        "nobody looked at these rows to settle the model, its layers, the prompt or classes, or the ranks and learning "
        "rates that were compared (the choice among those is counted)"
    )
    in_terms = exact(limit.assumptions)
    return {
        "sentences": sentences,
        "holds_if": [*drawn, *([settled] if CHOSEN in limit.assumptions else [])],
        "exact": f"{in_terms} Theorem: {limit.theorem}.".strip(),
    }


def _use_of_rows(made: Recommendation) -> list[str]:
    """Which rows pilots learnt from, which ones tested them, what the adapter learnt from."""
    lines = [
        f"Pilots learnt from at most {made.n_pilot:,} rows, in parts that contain one another.",
        f"They were tested on {made.n_test:,} {made.tested_on}."
        + (
            " Seeds have test rows of their own, which other seeds learn from"
            + (": so nearly every row tests once." if made.n_test >= 0.9 * made.n_rows else ".")
            if made.refit and made.n_pilot + made.n_test > made.n_rows
            else ""
        ),
    ]
    if made.refit:
        lines.append(
            f"After all decisions the adapter was trained anew on all {made.adapter_rows:,} rows, those that had "
            "tested included."
        )
    else:
        lines.append(f"The adapter is that of the pilot on {made.adapter_rows:,} rows; no test row trained it.")
    return lines


def _steps(made: Recommendation) -> dict[str, Any]:
    rows = [
        (step.what, _together(step.candidates), f"{step.n_train:,}", f"{step.n_runs:,}", f"{step.seconds:,.0f}")
        for step in made.steps
    ]
    return {"heads": ("compared", "candidates", "training rows", "runs", "seconds, last call"), "rows": rows_of(rows)}


def _together(candidates: tuple[tuple[str, int], ...]) -> str:
    """Candidates by mode: "freeze_a 1, 4; train_both 4"."""
    modes = dict.fromkeys(mode for mode, _ in candidates)
    return "; ".join(f"{mode} {', '.join(str(rank) for other, rank in candidates if other == mode)}" for mode in modes)


def _trials(made: Recommendation) -> dict[str, Any]:
    trials = made.lr_trials
    taken = {one.mode: one.lr for one in made.options}
    rows = [
        (trial.mode, f"{trial.lr:.3g}", "diverged" if trial.error is None else f"{trial.error:.3f}") for trial in trials
    ]
    kinds = ["best" if trial.lr == taken.get(trial.mode) else "" for trial in trials]
    said = ""
    if trials:
        said = (
            f"Rank {trials[0].rank}, {trials[0].n_train:,} rows, one run each: the lowest {made.error_name} on test "
            "rows decides, for each mode by itself."
        )
    return {"heads": ("mode", "learning rate", made.error_name), "rows": rows_of(rows, kinds), "said": said}


def _in_lines(command: Sequence[str]) -> str:
    """A command with an option per line."""
    lines = [""]
    for word in command:
        if word.startswith("--"):
            lines.append("")
        lines[-1] += f" {shlex.quote(word)}"
    return " \\\n   ".join(lines).strip()


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
