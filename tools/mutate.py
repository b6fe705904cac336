"""Mutation run: break bounds, the checking of certificates, or the counting of parameters; see whether tests notice.

    python tools/mutate.py --sample 150 --seed 0        # a fair random sample of all mutants
    python tools/mutate.py --only tails.py              # every mutant of one file
    python tools/mutate.py --verify --sample 80         # of what checks a certificate
    python tools/mutate.py --counting --sample 40       # of what counts the numbers that an adapter trains

Mutants come from the syntax tree: arithmetic and comparison operators, numbers, signs, conditions, and/or,
and calls that have a replica (minimum/maximum, argmin/argmax, log/log1p ...). Docstrings, annotations
and messages are left alone. A mutant runs in a forked child; a failing test kills it, and so does a limit on
its processor time (an endless loop). The tests of speed are left out, and a child that waits too long by the
clock is counted apart: a busy machine must not count as a kill.
"""

from __future__ import annotations

import argparse
import ast
import copy
import importlib.machinery
import os
import random
import resource
import signal
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "lorabound"
TESTS = ROOT / "tests"
# What computes a certificate again and compares; its tests train a small model and need the fixtures.
VERIFY = tuple(
    SOURCE / "certificates" / f"{name}.py"
    for name in ("verify", "verification", "stored", "schema", "recompute", "recompute_fresh")
)
# What an adapter trains and what it freezes: modes, entries of the factors, the vector of a subspace, residuals.
COUNTING = (
    SOURCE / "modes.py",
    *(SOURCE / "adapters" / f"{name}.py" for name in ("adapter", "entries", "subspace", "residual")),
)

OPERATORS: dict[type, tuple[type, ...]] = {
    ast.Add: (ast.Sub,),
    ast.Sub: (ast.Add,),
    ast.Mult: (ast.Div,),
    ast.Div: (ast.Mult,),
    ast.Pow: (ast.Mult,),
    ast.Mod: (ast.Mult,),
    ast.BitAnd: (ast.BitOr,),
    ast.Lt: (ast.LtE, ast.Gt),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.Lt),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
    ast.And: (ast.Or,),
    ast.Or: (ast.And,),
}
TWINS = {
    "minimum": "maximum",
    "maximum": "minimum",
    "argmin": "argmax",
    "min": "max",
    "max": "min",
    "ceil": "floor",
    "floor": "ceil",
    "log": "log1p",
    "log1p": "log",
    "expm1": "exp",
    "exp": "expm1",
    "any": "all",
    "all": "any",
    "gammaincc": "gammainc",
    "betainccinv": "betaincinv",
    "sqrt": "abs",
    "logaddexp": "maximum",
}


def mutants(tree: ast.Module) -> list[tuple[int, str, ast.Module]]:
    """(line, what was done, mutated tree) for every place that can be broken."""
    found: list[tuple[int, str, ast.Module]] = []
    nodes = list(_live(tree))
    for index, node in enumerate(nodes):
        for what, change in _changes(node):
            fresh = copy.deepcopy(tree)
            change(list(_live(fresh))[index])
            found.append((getattr(node, "lineno", 0), what, ast.fix_missing_locations(fresh)))
    return found


def _live(node: ast.AST):
    """All nodes that run: no annotations, no ``raise``, no f-strings, no ``__all__``, no imports."""
    if isinstance(node, ast.Raise | ast.JoinedStr | ast.Import | ast.ImportFrom | ast.arg):
        return
    if isinstance(node, ast.Assign) and isinstance(node.value, ast.Subscript | ast.Name):
        return
    yield node
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield from _live(child)


def _changes(node: ast.AST):
    if isinstance(node, ast.BinOp | ast.AugAssign | ast.BoolOp):
        for new in OPERATORS.get(type(node.op), ()):
            yield f"{type(node.op).__name__} -> {new.__name__}", lambda n, new=new: setattr(n, "op", new())
    elif isinstance(node, ast.Compare):
        for i, op in enumerate(node.ops):
            for new in OPERATORS.get(type(op), ()):
                yield (
                    f"{type(op).__name__} -> {new.__name__}",
                    lambda n, i=i, new=new: n.ops.__setitem__(i, new()),
                )
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.Not):
        yield (
            f"drop {type(node.op).__name__}",
            lambda n: (
                setattr(n, "op", ast.UAdd() if isinstance(n.op, ast.USub) else ast.Not())
                or (setattr(n, "operand", ast.UnaryOp(ast.Not(), n.operand)) if isinstance(n.op, ast.Not) else None)
            ),
        )
    elif isinstance(node, ast.Constant) and type(node.value) in (int, float):
        yield f"{node.value} -> {node.value + 1}", lambda n: setattr(n, "value", n.value + 1)
        if node.value:
            yield (
                f"{node.value} -> {node.value / 2}",
                lambda n: setattr(n, "value", type(n.value)(n.value / 2)),
            )
    elif isinstance(node, ast.Constant) and type(node.value) is bool:
        yield f"{node.value} -> {not node.value}", lambda n: setattr(n, "value", not n.value)
    elif isinstance(node, ast.If | ast.IfExp):
        yield "negate the condition", lambda n: setattr(n, "test", ast.UnaryOp(ast.Not(), n.test))
    elif isinstance(node, ast.Attribute) and node.attr in TWINS:
        yield f"{node.attr} -> {TWINS[node.attr]}", lambda n: setattr(n, "attr", TWINS[n.attr])


def order(file: str) -> list[str]:
    """Test files, the ones that speak of ``file`` first."""
    if file in {path.name for path in VERIFY}:
        return [str(TESTS / "certificates" / f"test_{name}.py") for name in ("verification", "verify", "certify")]
    if file in {path.name for path in COUNTING}:
        rooms = ("test_family", "test_frozen", "test_residual", "test_folder")
        return [str(TESTS / "test_modes.py"), *(str(TESTS / "adapters" / f"{name}.py") for name in rooms)]
    if file in ("price_of_freezing.py", "adapted_networks.py"):
        return [str(TESTS / "bounds" / f"test_{file}")]
    own = {"tails.py": "test_tails.py", "network.py": "test_lipschitz.py"}
    own |= dict.fromkeys(("progressive.py", "recursive.py"), "test_progressive.py")
    first = [own[file]] if file in own else ["test_oracles.py"]
    rest = [
        "test_oracles.py",
        "test_peers.py",
        "test_records.py",
        "test_contract.py",
        "test_validity.py",
        "test_rates.py",
        "test_recursive_arguments.py",
    ]
    return [str(TESTS / "bounds" / name) for name in dict.fromkeys(first + rest)]


def survives(path: Path, tree: ast.Module, seconds: int) -> bool | None:
    """Run the tests in a child with ``path`` replaced by ``tree``; None where the clock ended it."""
    child = os.fork()
    if child == 0:
        sink = os.open(os.devnull, os.O_WRONLY)
        os.dup2(sink, 1)
        os.dup2(sink, 2)
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))
        signal.alarm(10 * seconds)
        code = compile(tree, str(path), "exec")
        original = importlib.machinery.SourceFileLoader.get_code

        def get_code(self, name):
            return code if Path(self.path) == path else original(self, name)

        importlib.machinery.SourceFileLoader.get_code = get_code
        import hypothesis
        import pytest

        # A failure is enough: no shrinking.
        generate = [hypothesis.Phase.explicit, hypothesis.Phase.generate]
        hypothesis.settings.register_profile("mutants", phases=generate, report_multiple_bugs=False)
        hypothesis.settings.load_profile("mutants")
        plain = ["-o", "addopts=", "-p", "no:cacheprovider", "-m", "not slow", "-k", "not in_a_second"]
        # Bounds without the options and fixtures of the other rooms, which load models.
        plain += [] if path in (*VERIFY, *COUNTING) else ["--noconftest"]
        try:
            status = int(pytest.main(["-x", "-q", "--tb=no", *plain, *order(path.name)]))
        except BaseException:
            status = 1
        os._exit(1 if status else 0)
    status = os.waitpid(child, 0)[1]
    return None if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGALRM else status == 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sample", type=int, help="how many mutants, drawn at random from all; default all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", help="one of the files")
    parser.add_argument("--seconds", type=int, default=180, help="processor time of one mutant")
    parser.add_argument("--verify", action="store_true", help="what checks certificates, in place of the bounds")
    parser.add_argument("--counting", action="store_true", help="what counts the trained numbers, in their place")
    options = parser.parse_args()
    files = [*sorted((SOURCE / "bounds").glob("*.py")), SOURCE / "arguments.py"]
    files = list(VERIFY) if options.verify else list(COUNTING) if options.counting else files
    pool = [
        (path, *mutant)
        for path in files
        if path.name != "__init__.py" and options.only in (None, path.name)
        for mutant in mutants(ast.parse(path.read_text()))
    ]
    total = len(pool)
    if options.sample and options.sample < total:
        pool = random.Random(options.seed).sample(pool, options.sample)
    # Loaded once, before the forks; nothing of ours.
    import hypothesis
    import mpmath
    import scipy.integrate
    import scipy.stats
    import torch

    del hypothesis, mpmath, scipy, torch
    path = pool[0][0]
    if not survives(path, ast.parse(path.read_text()), 10 * options.seconds):
        print("the tests fail without any mutation")
        return 1
    killed, waited, start = 0, 0, time.time()
    for done, (path, line, what, tree) in enumerate(pool, start=1):
        alive = survives(path, tree, options.seconds)
        waited += alive is None
        killed += alive is False
        if alive is not False:
            print(f"{'survived' if alive else 'not known'}  {path.name}:{line}  {what}", flush=True)
        if done % 20 == 0:
            print(f"{killed} of {done} killed, {time.time() - start:.0f} s", flush=True)
    print(
        f"{killed} of {len(pool)} mutants killed ({killed / len(pool):.1%}), of {total} possible, "
        f"seed {options.seed}, {time.time() - start:.0f} s" + (f"; {waited} waited too long" if waited else "")
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
