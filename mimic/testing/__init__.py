"""A Mimic server in a separate process, for the tests of other programs.

::

    with MimicServer("dump.json") as mimic:
        client = OpenAI(base_url=mimic.base_url, api_key=mimic.api_key)
        ...
        assert [request.status for request in mimic.requests()] == [429, 200]
"""

from mimic.testing.server import MimicServer, NotAnswered, NotStarted, Seedable, StartMimic, free_port

__all__ = ["MimicServer", "NotAnswered", "NotStarted", "Seedable", "StartMimic", "free_port"]
