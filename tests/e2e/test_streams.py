"""max_concurrent_http_streams: what is beyond it waits for its turn, and streams are given anew as they end."""

import re
import shutil
import subprocess

import pytest
from harness import SANITIZED, SLOW, Nginx
from payload import payload

REQUESTS = 10_000 if not SANITIZED else 1000


@pytest.fixture
def nginx_file(tmp_path, script):
    nginx = Nginx(tmp_path / "nginx", script.address)
    (nginx.root / "file").write_bytes(payload(1000))
    yield nginx
    nginx.stop()


@pytest.mark.skipif(not shutil.which("ab"), reason="ab (apache2-utils) is not installed")
def test_many_requests_through_ten_streams(start_pair, nginx_file):
    """The client is not told of the limit: the server advertises it."""
    pair = start_pair(nginx_file.address, server={"transport": {"max_concurrent_http_streams": 10}})
    done = subprocess.run(["ab", "-q", "-k", "-n", str(REQUESTS), "-c", "60", "-s", "60",
                           "http://%s:%d/file" % pair.http], capture_output=True, text=True, timeout=200 * SLOW)
    assert done.returncode == 0, done.stderr
    assert re.search(rf"Complete requests:\s+{REQUESTS}\n", done.stdout), done.stdout
    assert re.search(r"Failed requests:\s+0\n", done.stdout) and "Non-2xx" not in done.stdout, done.stdout
    assert len(pair.client.connections()) == 1
