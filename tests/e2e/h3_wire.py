"""HTTP/3 as bytes (RFC 9114, 9204), made by hand: what no library would send can be said as well as what is right."""

DATA, HEADERS, CANCEL_PUSH, SETTINGS, PUSH_PROMISE, GOAWAY, MAX_PUSH_ID = 0, 1, 3, 4, 5, 7, 13
PRIORITY_UPDATE = 0xf0700  # RFC 9218 section 7.2
CONTROL_STREAM, PUSH_STREAM, ENCODER_STREAM, DECODER_STREAM = b"\x00", b"\x01", b"\x02", b"\x03"
REQUEST = {":method": "GET", ":scheme": "https", ":authority": "a", ":path": "/"}


def varint(value):
    """RFC 9000 section 16, in the shortest form."""
    for length, bits in ((1, 6), (2, 14), (4, 30), (8, 62)):
        if value < 1 << bits:
            return (value | (length.bit_length() - 1) << (8 * length - 2)).to_bytes(length, "big")
    raise ValueError(value)


def prefixed(value, bits, flags):
    """RFC 7541 section 5.1: an integer behind `flags` in the first byte."""
    most = (1 << bits) - 1
    if value < most:
        return bytes([flags | value])
    out, value = bytes([flags | most]), value - most
    while value >= 128:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


def octets(text):
    return text if isinstance(text, bytes) else text.encode("latin-1")


def line(name, value):
    """A literal field line with a literal name, no Huffman code (RFC 9204 section 4.5.6)."""
    name, value = octets(name), octets(value)
    return prefixed(len(name), 3, 0x20) + name + prefixed(len(value), 7, 0) + value


def section(fields):
    """A field section that refers to no dynamic table."""
    return b"\0\0" + b"".join(line(name, value) for name, value in fields)


def frame(kind, payload=b""):
    return varint(kind) + varint(len(payload)) + payload


def headers(*fields):
    return frame(HEADERS, section(fields))


def request(*fields, **pseudo):
    """HEADERS of a request: what is in `pseudo` (method, scheme, authority, path) replaces the defaults, None leaves
    one out; then `fields`, pairs."""
    changed = {**REQUEST, **{f":{name}": value for name, value in pseudo.items()}}
    return headers(*((name, value) for name, value in changed.items() if value is not None), *fields)


def data(content):
    return frame(DATA, octets(content))


def settings(*pairs):
    return frame(SETTINGS, b"".join(varint(name) + varint(value) for name, value in pairs))
