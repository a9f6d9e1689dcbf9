"""Stands in for Microsoft's in-house test package, which no public index has.

Only what the client's own tests use: no recording, no proxy; the connection string comes
from the environment.
"""

import inspect
import os

import pytest


class AzureRecordedTestCase:
    """The base class of the tests; recording is not done here."""


class PowerShellPreparer:
    """A decorator that passes environment variables to a test as keyword arguments."""

    def __init__(self, prefix, **fakes):
        self.names = list(fakes)

    def __call__(self, test):
        # Some tests are decorated and take nothing.
        wanted = inspect.signature(test).parameters
        values = {name: os.environ[name.upper()] for name in self.names if name in wanted}

        if inspect.iscoroutinefunction(test):

            async def wrapper(self, **kwargs):
                return await test(self, **values, **kwargs)

        else:

            def wrapper(self, **kwargs):
                return test(self, **values, **kwargs)

        # Without the test's own signature: pytest would look for fixtures of these names.
        wrapper.__name__ = test.__name__
        wrapper.__doc__ = test.__doc__
        if inspect.iscoroutinefunction(test):
            return pytest.mark.asyncio(wrapper)
        return wrapper


def recorded_by_proxy(test):
    return test


@pytest.fixture(scope="session")
def test_proxy():
    return None


def add_general_regex_sanitizer(**_):
    return None
