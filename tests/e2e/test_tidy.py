"""tools/tidy: each rule refuses a file that breaks it, and nothing else is found in that copy."""

import shutil
import subprocess

import pytest
from peers import TOP

NOTE = "tidy: clang-format-14 is not installed"
LONG_FUNCTION = "int f(int a,\n      int b) {\n" + "  a += b;\n" * 68 + "}\n"  # 71 lines
TABLE = "// clang-format off\nstatic const int table[] = {\n  1,   2,\n};\n// clang-format on\n"

# A file's path and content, and what must be said of it.
BAD = [
    ("src/base/a.c", '#include "io/tcp.h"\n', "base must not know io"),
    ("src/io/a.c", '#include "proto/h3.h"\n', "io must not know proto"),
    ("src/proto/a.c", '#include "io/udp.h"\n', "proto must not know io"),
    ("src/flow/a.c", '#include "metrics/metrics.h"\n', "flow must not know metrics"),
    ("src/proxy/a.c", '#include "run/worker.h"\n', "proxy must not know run"),
    ("src/main.c", '#include "proxy/session.h"\n', "main must not know proxy"),
    ("src/base/a.c", '#include "pool.h"\n', "name it by its folder"),
    ("src/proto/quic_a.c", '#include "proto/h3.h"\n', "h3 asks quic"),
    ("src/proxy/exchange.c", '#include "proxy/origin.h"\n', "knows its ends as a struct"),
    ("src/config/config_key.c", "#include <cjson/cJSON.h>\n", "JSON is read in one place"),
    ("src/io/tcp.c", "#include <liburing.h>\n", "the only way to io_uring"),
    ("src/proto/http1_write.c", "#include <llhttp.h>\n", "hides the parser"),
    ("src/proto/quic.c", "#include <nghttp3/nghttp3.h>\n", "h3 hides nghttp3"),
    ("src/proto/h3.c", "#include <ngtcp2/ngtcp2.h>\n", "quic and tls hide"),
    ("src/run/a.c", "#include <wolfssl/ssl.h>\n", "quic and tls hide"),
    ("src/proto/quic_crypto.c", "#include <intel-ipsec-mb.h>\n", "special for one kind of CPU"),
    ("src/proxy/a.c", "#include <sys/socket.h>\n", "the only user of sockets"),
    ("src/base/log.c", "#include <netinet/in.h>\n", "the only user of sockets"),
    ("src/base/a.c", "#include <event2/event.h>\n", "not of the C library"),
    ("src/base/a.c", "int a;\n" * 601, "601 lines in the file"),
    ("tests/unit/a.c", "int a;\n" * 601, "601 lines in the file"),
    ("tests/e2e/a.py", "a = 1\n" * 601, "601 lines in the file"),
    ("src/base/a.c", LONG_FUNCTION, "a.c:1: 71 lines in the function"),
    ("tests/e2e/a.py", "def f():\n" + "    f()\n" * 70, "71 lines in the function"),
    ("tools/a", "#!/bin/bash\nf() {\n" + "  f\n" * 69 + "}\n", "71 lines in the function"),
    ("src/base/a.c", "/* " + "a" * 115 + " */\n", "121 columns"),
    ("src/base/a.tbl", "A(" + "a" * 118 + ")\n", "121 columns"),
    *((f"src/base/{call}.c", f"int f(void) {{ return {call}(a); }}\n", f"{call}.c:1: {call}: ") for call in (
        "strcpy", "strcat", "sprintf", "vsprintf", "gets", "strtok", "alloca", "atoi", "atol", "system", "popen")),
    ("src/base/a.c", "#ifdef NDEBUG\n#endif\n", "checks are on in every build"),
    ("src/base/a.c", "#include <assert.h>\n", "static_assert, which is not used"),
    ("src/base/a.c", "void f(void) { assert(1); }\n", "may be compiled out"),
    *((path, f"{start} {mark}: more\n", mark) for mark in ("TO" "DO", "FIX" "ME", "X" "XX", "HA" "CK")
      for path, start in (("src/base/a.c", "//"), ("tools/a", "#"), ("README.md", ""))),
    ("src/base/a.c", "\tint a;\n", "a tab"),
    ("src/base/a.c", "int a; \n", "white space at the end"),
    ("README.md", "two  \n", "white space at the end"),
    ("src/base/a.c", "int a;", "no newline at the end"),
    ("tools/a", "curl https://deb.%s.org/\n" % "debian", "deb.debian" ".org"),
    ("tools/a", "pip install --index https://pypi.%s/simple\n" % "org", "pypi" ".org"),
    ("tools/a", "cd /work/%s\n" % "main", "/work" "/m"),
    ("src/base/a.c", "// clang-format off\nint a[] = {\n};\n", "without an on"),
    ("src/base/a.c", TABLE.replace("1,   2,", "1 };\nvoid f(void) { if (a) b(); "), "not a table"),
]

GOOD = [
    ("src/base/a.c", TABLE),
    ("src/base/a.c", LONG_FUNCTION.replace("  a += b;\n", "", 1)),
    ("src/base/a.c", '/* strcpy(a, b); */\nconst char *text = "system(1)";\n'),
    ("src/base/a.c", "#include <assert.h>\n\nstatic_assert(1, \"one\");\n"),
    ("src/base/a.tbl", "ROW(1)\n" * 700),
    ("src/proto/tls_a.c", "#include <wolfssl/ssl.h>\n"),
    ("src/run/a.c", '#include "io/tcp.h"\n#include "metrics/metrics.h"\n'),
    ("LICENSE", "a" * 200 + "\n"),
]


def tidy(directory):
    done = subprocess.run([TOP / "tools/tidy", directory], capture_output=True, text=True)
    return done.returncode, done.stdout.splitlines(), done.stderr


def checkout(directory, path, content):
    shutil.copy(TOP / ".clang-format", directory)
    (directory / path).parent.mkdir(parents=True, exist_ok=True)
    (directory / path).write_text(content)
    return directory


@pytest.mark.parametrize("path, content, said", BAD, ids=[f"{said}-{path}" for path, _, said in BAD])
def test_refuses(tmp_path, path, content, said):
    status, lines, _ = tidy(checkout(tmp_path, path, content))
    assert status == 1
    assert any(line.startswith(f"{path}:") and said in line for line in lines), lines


@pytest.mark.parametrize("path, content", GOOD)
def test_accepts(tmp_path, path, content):
    status, lines, errors = tidy(checkout(tmp_path, path, content))
    assert [line for line in lines if "clang-format-14" not in line] == [], errors


@pytest.mark.skipif(not shutil.which("clang-format-14"), reason="clang-format-14 is not installed")
def test_refuses_other_formatting(tmp_path):
    status, lines, _ = tidy(checkout(tmp_path, "src/base/a.c", "int f( void ){return 1;}\n"))
    assert status == 1
    assert lines == ["src/base/a.c:1: not as .clang-format says: clang-format-14 -i does it"]


def test_what_is_not_ours_is_not_looked_at(tmp_path):
    for path in ("build/a.c", "tests/corpus/a", ".git/a", "bench/report/memory.svg"):
        checkout(tmp_path, path, "\tTO" "DO ")
    assert tidy(tmp_path)[:2] == (0, [])


def test_a_working_tree_beside_others(tmp_path):
    """Its .git is a file that names a folder. What the bench left is not ours; the page that explains it is."""
    checkout(tmp_path, ".git", "gitdir: /work/%s\n" % "main")
    assert tidy(tmp_path)[:2] == (0, [])
    status, lines, _ = tidy(checkout(tmp_path, "bench/report/README.md", "two  \n"))
    assert status == 1 and lines == ["bench/report/README.md:1: white space at the end of the line"]
