"""The Triton kernels compile for a Hopper GPU, on a machine without one.

The interpreter takes code that the compiler refuses. `test_triton.py` runs this file in a
process of its own, because triton must not be imported with TRITON_INTERPRET there.
"""

from typing import Any

import pytest
import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.backends.nvidia.compiler import CUDABackend
from triton.compiler import ASTSource
from triton.runtime.jit import create_function_from_signature

from stageinteractor.modeling.sampling import triton_kernels
from stageinteractor.modeling.sampling.triton_kernels import encoded

HOPPER = GPUTarget("cuda", 90, 32)
KERNELS = ["sample_kernel", "points_backward_kernel", "features_backward_kernel"]


def compiled_text(name: str, features_type: str, sum_type: str, width: int, levels: int) -> str:
    """Return the assembly of a kernel for so many channels and levels."""
    function = getattr(triton_kernels, name).fn
    tile = triton.next_power_of_2(width)
    constants = dict(G=4, P=32, L=levels, DC=width, TILE=tile, BLOCK=16)
    signature: dict[str, Any] = {}
    for argument in function.arg_names:
        signature[argument] = "constexpr" if argument in constants else f"*{sum_type}"
    signature |= dict(levels=(("i32",) * 4,) * levels, cells="i32", points="i32")
    if "features" in signature:
        signature["features"] = f"*{features_type}"
    aligned = {
        (index,): [["tt.divisibility", 16]]
        for index, kind in enumerate(signature.values())
        if kind[0] == "*"
    }
    values = {(function.arg_names.index(key),): value for key, value in constants.items()}
    source = ASTSource(function, signature, values, aligned)
    return triton.compile(source, HOPPER, dict(num_warps=4, num_stages=1)).asm["ptx"]


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("types", [("bf16", "fp32", 64, 4), ("fp64", "fp64", 24, 1)], ids=str)
def test_kernels_compile(name: str, types: tuple[str, str, int, int]):
    text = compiled_text(name, *types)
    assert f".entry {name}" in text


def test_cells_are_read_and_added_to_by_sixteen_bytes():
    assert compiled_text("sample_kernel", "bf16", "fp32", 64, 4).count("ld.global.v4.b32") == 16
    added = compiled_text("features_backward_kernel", "bf16", "fp32", 64, 4)
    assert added.count("relaxed.add.v4.f32") == 2 * 16  # 64 channels of 16 points, 128 threads


@pytest.mark.parametrize("name", KERNELS)
def test_another_size_of_image_is_the_same_kernel(name: str):
    function = getattr(triton_kernels, name).fn
    specialise = create_function_from_signature(
        function.signature, function.params, CUDABackend(HOPPER)
    )
    tensors = [torch.zeros(1)] * function.arg_names.index("levels")
    kernels = set()
    for levels, cells, points in [
        (((0, 200, 336, 4), (67200, 100, 168, 8)), 84000, 12800),
        (((0, 1, 1, 1), (1, 16, 16, 16)), 257, 1),
        (((0, 7, 9, 4), (63, 3, 5, 8)), 78, 33),
    ]:
        numbers = tuple(tuple(map(encoded, level)) for level in levels)
        constants = dict(G=4, P=32, L=2, DC=64, TILE=64, BLOCK=16)
        kernels.add(str(specialise(*tensors, numbers, cells, points, **constants)[1]))
    assert len(kernels) == 1
