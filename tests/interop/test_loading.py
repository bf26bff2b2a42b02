"""Loading takes little more memory than the parameters themselves."""

import subprocess
import sys

import jax
import numpy as np
import pytest

import transformer
from transformer.interop import save_pretrained

MEASURED = """
import sys, time
import jax
jax.numpy.zeros(3) + 1
from transformer.interop import load_pretrained

def peak():
    return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("VmHWM"))

before, start = peak(), time.monotonic()
loaded = load_pretrained(sys.argv[1])
seconds = time.monotonic() - start
size = sum(x.nbytes for x in jax.tree.leaves(loaded.params))
print(size, peak() - before, seconds)
"""


@pytest.mark.more
@pytest.mark.skipif(sys.platform != "linux", reason="the peak of memory is read from /proc")
def test_gpt2_of_124_million_parameters_loads_in_one_fifth_more_memory_than_it_has(tmp_path):
    sizes = {"vocab_size": 50257, "max_length": 1024, "num_layers": 12, "width": 768, "num_heads": 12}
    model = transformer.build(
        architecture="decoder_only", position="learned", activation="gelu_tanh", embedding={"scale": False}, **sizes
    )
    params = jax.tree.map(lambda x: np.ones(x.shape, np.float32), model.parameter_shapes)
    save_pretrained(model, params, tmp_path / "gpt2")
    run = [sys.executable, "-c", MEASURED, str(tmp_path / "gpt2")]
    size, more, seconds = map(float, subprocess.run(run, check=True, capture_output=True, text=True).stdout.split())
    print(f"{size / 2**20:.0f} MiB of parameters, {more / size:.2f} times that, {seconds:.2f} s")
    assert size == 4 * 124_439_808
    assert more < 1.2 * size
