"""The tests on the oldest and the newest versions that pyproject.toml and constraints.txt admit.

The results are in docs/versions.md. An environment takes about 7 GB of disk with the CUDA
libraries of torch, in .nox; uv makes it and finds the Python.

pip install nox uv
nox -s tests                                    # every row
nox -s 'tests(oldest)' -- -m 'not slow'         # one, with options for pytest
"""

import nox

nox.options.default_venv_backend = "uv"
nox.options.download_python = "never"  # Pythons that are not here are skipped
OLDEST = ("--resolution", "lowest-direct")  # the minimum of each requirement, newest below them
NEWEST = ("--constraint", "constraints.txt")


@nox.session
@nox.parametrize(
    "python,versions",
    [
        nox.param("3.10", OLDEST, id="oldest"),
        nox.param("3.11", NEWEST, id="newest"),  # what .ci/run tests
        nox.param("3.12", NEWEST, id="newest-3.12"),
        nox.param("3.13", NEWEST, id="newest-3.13"),
    ],
)
def tests(session: nox.Session, versions: tuple[str, str]) -> None:
    """Install one row of versions and run the tests in it; what follows `--` goes to pytest."""
    session.install("pip")  # for tools/install_detectron2.py
    session.install(*versions, "--editable", ".[train,demo,dev]")
    session.run("python", "tools/install_detectron2.py")
    session.run("python", "-m", "pytest", "-q", *session.posargs, env={"OMP_NUM_THREADS": "1"})
