"""The command, called in this process."""

from __future__ import annotations

from click.testing import CliRunner, Result

from mtml_deploy.cli.main import main


def run(*words: object) -> Result:
    """What `mtml-deploy` with these words gives."""
    return CliRunner().invoke(main, [str(word) for word in words])


def ok(*words: object) -> Result:
    """The same, of a command that must succeed."""
    result = run(*words)
    assert result.exit_code == 0, result.output
    return result
