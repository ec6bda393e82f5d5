"""bench/load.py: what wrk and ab say."""

import http.server
import threading

import load
import pytest
import systems
from processes import BenchError

WRK = """Running 2s test @ http://127.0.0.1:21002
  1 threads and 64 connections
  Requests/sec:  12942.51
Transfer/sec:     15.18MB
RESULT {"requests":26000,"bytes":32000000,"us":2000000,"connect":1,"read":2,"write":3,"status":4,"timeout":5,\
"curve":[[50,3940],[90,8260],[99,13960],[99.9,23930],[100,31000]]}
"""
AB = """
Server Software:        nginx/1.22.1
Concurrency Level:      16
Time taken for tests:   2.000 seconds
Complete requests:      10560
Failed requests:        3
   (Connect: 0, Receive: 0, Length: 3, Exceptions: 0)
Non-2xx responses:      2
Total transferred:      13041600 bytes
HTML transferred:       10560000 bytes
Requests per second:    5280.00 [#/sec] (mean)
"""
AB_PERCENTILES = "Percentage served,Time in ms\n0,0.301\n50,1.857\n90,6.213\n99,12.260\n100,20.001\n"


def test_wrk():
    found = load.parse_wrk(WRK)
    assert found["requests_s"] == 13000 and found["mb_s"] == 16
    assert [found[name] for name in ("p50_ms", "p90_ms", "p99_ms", "p999_ms")] == [3.94, 8.26, 13.96, 23.93]
    assert found["errors"] == 15
    assert found["curve"][0] == [50, 3.94]


def test_wrk_without_a_result():
    with pytest.raises(BenchError, match="unable to connect"):
        load.parse_wrk("unable to connect to 127.0.0.1:1 Connection refused\n")


def test_wrk_command():
    command = load.wrk_command(("127.0.0.1", 8080), 64, 2.4, "get", "/1k")
    assert command[:1] == ["wrk"] and command[-4:] == ["http://127.0.0.1:8080", "--", "get", "/1k"]
    assert command[command.index("--duration") + 1] == "4s" and command[command.index("--connections") + 1] == "64"


def test_ab():
    found = load.parse_ab(AB, AB_PERCENTILES)
    assert found["requests"] == 10560 and found["requests_s"] == 5280 and found["mb_s"] == pytest.approx(5.28)
    assert [found[name] for name in ("p50_ms", "p90_ms", "p99_ms")] == [1.857, 6.213, 12.26]
    assert found["errors"] == 5


def test_ab_without_failures():
    assert load.parse_ab(AB.replace("Failed requests:        3", "Failed requests:        0").replace(
        "Non-2xx responses:      2\n", ""), AB_PERCENTILES)["errors"] == 0


def test_ab_without_a_result():
    with pytest.raises(BenchError, match="apr_socket_recv"):
        load.parse_ab("apr_socket_recv: Connection refused (111)\n", "")


def test_ab_keeps_connections_only_when_told():
    command = ("127.0.0.1", 8080), "/1k", 16, 2, "/tmp/x"
    assert "-k" not in load.ab_command(*command) and "-k" in load.ab_command(*command, keep_alive=True)


def test_wrk_ends_when_it_is_enough():
    """Whether it says what it has, when it is interrupted after a fraction of its seconds."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler) as server:
        server.RequestHandlerClass.log_message = lambda *_: None
        threading.Thread(target=server.serve_forever, daemon=True).start()
        found = load.wrk(systems.Loopback(), server.server_address, 2, 0.4, "get", "/nothing")
        server.shutdown()
    assert found["requests"] > 0 and found["errors"] == found["requests"] and 0.3 < found["seconds"] < 1.4
