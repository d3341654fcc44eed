"""Run tests twice: with torch's default float32 products and with those of oneDNN.

On processors where oneDNN rounds float32 products to bfloat16, only the default is run, as in
`stageinteractor.machine.matmul`.
"""

import pytest

from stageinteractor.machine.matmul import onednn_products, trial

WAYS = ["default", "onednn"] if trial().exact else ["default"]


@pytest.fixture(params=WAYS, autouse=True)
def float32_products(request):
    """How a CPU multiplies float32 matrices; a conftest that imports this runs its tests twice."""
    if request.param == "default":
        yield
        return
    with onednn_products():
        yield
