"""What every fault run writes down is shown at the end, whether it passed or not."""

from collections.abc import Callable

import pytest

from tests.faults.run_record import RunRecord
from tests.faults.scale import SOAK
from tests.flow.conftest import catalogue, harbour, keys

__all__ = ["catalogue", "harbour", "keys"]  # fixtures of the flow tests, used here too
RECORDS = pytest.StashKey[list[RunRecord]]()


@pytest.fixture
def strace(require_tool: Callable[[str], str]) -> str:
    """The program that kills at a call, or fails it."""
    return require_tool("strace")


@pytest.fixture
def record(request: pytest.FixtureRequest) -> RunRecord:
    """The record of this test's run; the long runs show how far they are."""
    run = RunRecord(request.node.name, _teller(request.config))
    request.config.stash.setdefault(RECORDS, []).append(run)
    return run


def _teller(config: pytest.Config) -> Callable[[str], None]:
    terminal = config.pluginmanager.get_plugin("terminalreporter")
    if terminal is None or not SOAK:
        return lambda _: None
    return lambda line: terminal.write_line(line)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the records."""
    for run in config.stash.get(RECORDS, []):
        terminalreporter.write_line(str(run))
