"""Two processes, as torchrun starts them on CPU: the certificate of one."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import lorabound as lb
from lorabound.certificates.stored import read_certificate
from lorabound.certificates.training import first_epoch
from tests.hf.two_processes import KINDS, main

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_two_processes_give_the_certificate_of_one(tmp_path):
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--master-port=29611"]
    command = [*torchrun, "-m", "tests.hf.two_processes", str(tmp_path / "two"), "4"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    main(str(tmp_path / "one"), 8)
    for kind in KINDS:
        one, two = (read_certificate(tmp_path / many / kind).certificate for many in ("one", "two"))
        first, other = (first_epoch(found.statements[0]) for found in (one, two))
        assert first.planned == len(first.losses) == len(other.losses) == 107
        assert np.allclose(first.losses, other.losses, atol=1e-5)
        assert two.best.limit == pytest.approx(one.best.limit, abs=1e-5)
        assert two.record["training"]["order_sha256"] == one.record["training"]["order_sha256"]
        assert lb.verify(tmp_path / "two" / kind).holds
        kept = [lb.load_adapter(tmp_path / many / kind / "random-checkpoint") for many in ("one", "two")]
        for name, factors in kept[0].layers.items():
            assert np.allclose(factors.b, kept[1].layers[name].b, atol=1e-5)
