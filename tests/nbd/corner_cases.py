# Corner cases of the protocol, asked by libnbd: odd sizes against a model, sparse reads, contexts, refusals.
# Usage: corner_cases.py SOCKET READ_ONLY_SOCKET SLOW_ZEROES_SOCKET (servers of disks of 80 MiB; the read-only one 1 MiB)
import errno
import random
import sys

import nbd

MIB = 1 << 20
PAYLOAD_MAX = 32 * MIB


def connect(socket, setup=None, export="disk"):
    h = nbd.NBD()
    h.set_strict_mode(0)  # we want to send what is wrong
    h.add_meta_context("x-ebb:unknown")
    h.add_meta_context(nbd.CONTEXT_BASE_ALLOCATION)
    h.set_export_name(export)
    if setup:
        setup(h)
    h.connect_unix(socket)
    return h


def refused(number, call, *args):
    try:
        call(*args)
    except nbd.Error as e:
        assert e.errnum == number, (e, number)
        return
    assert False, "was not refused"


def extents(h, length, offset, flags=0):
    found = []
    h.block_status(length, offset, lambda context, at, entries, error: found.append((context, at, entries)), flags)
    assert len(found) == 1 and found[0][:2] == ("base:allocation", offset), found
    return [tuple(found[0][2][i:i + 2]) for i in range(0, len(found[0][2]), 2)]


def handshake(socket):
    h = nbd.NBD()
    h.set_opt_mode(True)
    h.connect_unix(socket)
    names = []
    assert h.opt_list(lambda name, description: names.append((name, description))) == 1
    assert names == [("disk", "the test's disk")], names
    h.set_full_info(True)
    h.set_export_name("")
    h.opt_info()
    assert h.get_canonical_export_name() == "disk" and h.get_export_description() == "the test's disk"
    for queries, expected in (([], ["base:allocation"]), (["base:"], ["base:allocation"]), (["qemu:"], [])):
        listed = []
        h.clear_meta_contexts()
        for query in queries:
            h.add_meta_context(query)
        h.opt_list_meta_context(listed.append)
        assert listed == expected, (queries, listed)
    h.set_export_name("nothing")
    refused(errno.ENOENT, h.opt_info)
    refused(errno.ENOENT, h.opt_go)
    h.opt_abort()


def model(h):
    rnd = random.Random(5)
    span = MIB
    expected = bytearray(span)
    h.zero(span, 0)
    for i in range(600):
        offset = rnd.randrange(span)
        length = rnd.randrange(1, min(span - offset, 200000) + 1)
        kind = rnd.random()
        if kind < 0.5:
            data = rnd.randbytes(length)
            h.pwrite(data, offset, rnd.choice([0, nbd.CMD_FLAG_FUA]))
            expected[offset:offset + length] = data
        elif kind < 0.75:
            h.zero(length, offset, rnd.choice([0, nbd.CMD_FLAG_NO_HOLE, nbd.CMD_FLAG_FUA]))
            expected[offset:offset + length] = bytes(length)
        elif kind < 0.8:
            h.flush()
        else:
            flags = rnd.choice([0, nbd.CMD_FLAG_DF]) if h.can_df() else 0
            assert h.pread(length, offset, flags) == expected[offset:offset + length], (i, offset, length)
    assert h.pread(span, 0) == expected
    buffers = []
    for i in range(300):
        offset = rnd.randrange(span - 100000)
        buffer = nbd.Buffer(rnd.choice([rnd.randrange(1, 5000), rnd.randrange(1, 100000)]))
        buffers.append((h.aio_pread(buffer, offset), buffer, offset))
        while h.aio_in_flight() >= 64:
            h.poll(-1)
    while h.aio_in_flight() > 0:
        h.poll(-1)
    for cookie, buffer, offset in buffers:
        assert h.aio_command_completed(cookie)
        assert buffer.to_bytearray() == expected[offset:offset + buffer.size()]


def sparse(h, keeps_zeroes=True):
    """`keeps_zeroes`: zeroes that shall not become a hole are written as data; else they are a hole all the same."""
    h.zero(4 * MIB, 0)
    h.pwrite(b"a" * 4096, 8192)
    h.pwrite(b"b" * 100, MIB + 50)
    chunks = []

    def note(data, offset, status, error):
        chunks.append((status, offset, len(data)))

    got = h.pread_structured(4 * MIB, 0, note)
    assert got == bytes(8192) + b"a" * 4096 + bytes(MIB + 50 - 12288) + b"b" * 100 + bytes(3 * MIB - 150)
    assert sorted(chunks) == [(nbd.READ_DATA, 0, 12288), (nbd.READ_DATA, MIB, 4096),
                              (nbd.READ_HOLE, 12288, MIB - 12288), (nbd.READ_HOLE, MIB + 4096, 3 * MIB - 4096)], chunks
    chunks.clear()
    h.pread_structured(4 * MIB, 0, note, nbd.CMD_FLAG_DF)
    assert chunks == [(nbd.READ_DATA, 0, 4 * MIB)], chunks
    hole = (nbd.STATE_HOLE | nbd.STATE_ZERO)
    assert extents(h, 4 * MIB, 0) == [(8192, hole), (4096, 0), (MIB - 12288, hole), (4096, 0), (3 * MIB - 4096, hole)]
    assert extents(h, 4 * MIB, 100, nbd.CMD_FLAG_REQ_ONE) == [(8092, hole)]
    assert extents(h, 5000, 8193) == [(4095, 0), (905, hole)]
    h.zero(8192, 8192, nbd.CMD_FLAG_NO_HOLE)
    assert extents(h, 12288, 8192) == ([(8192, 0), (4096, hole)] if keeps_zeroes else [(12288, hole)])
    assert extents(h, h.get_size() - 2 * MIB, MIB + 4096)[-1][1] == hole


def large(h):
    data = random.Random(1).randbytes(PAYLOAD_MAX)
    h.pwrite(data, 12345)
    assert h.pread(PAYLOAD_MAX, 12345) == data
    assert h.pread(PAYLOAD_MAX, 12345, nbd.CMD_FLAG_DF) == data
    refused(errno.EOVERFLOW, h.pread, PAYLOAD_MAX + 1, 0)
    refused(errno.EINVAL, h.pwrite, bytes(PAYLOAD_MAX + 1), 0)
    refused(errno.EOVERFLOW, h.cache, PAYLOAD_MAX + 1, 0)
    assert h.pread(PAYLOAD_MAX, 12345) == data
    h.zero(h.get_size(), 0)
    h.trim(h.get_size(), 0)
    assert h.pread(PAYLOAD_MAX, 12345) == bytes(PAYLOAD_MAX)


def refusals(h):
    size = h.get_size()
    refused(errno.EINVAL, h.pread, 1, size)
    refused(errno.ENOSPC, h.pwrite, b"xx", size - 1)
    refused(errno.ENOSPC, h.zero, 1, size)
    refused(errno.EINVAL, h.trim, 2, size - 1)
    refused(errno.EINVAL, h.cache, 2, size - 1)
    refused(errno.EINVAL, extents, h, 2, size - 1)
    refused(errno.EINVAL, h.pread, 1, 0, 1 << 9)
    refused(errno.EINVAL, h.pwrite, b"x", 0, nbd.CMD_FLAG_DF)
    refused(errno.EINVAL, h.trim, 1, 0, nbd.CMD_FLAG_FAST_ZERO)
    refused(errno.EINVAL, h.flush, nbd.CMD_FLAG_REQ_ONE)
    h.flush(nbd.CMD_FLAG_FUA)
    h.cache(1000, 7)
    h.zero(0, 0), h.trim(0, 0), h.cache(0, 0), h.pwrite(b"", 0)
    h.zero(65536, 0, nbd.CMD_FLAG_FAST_ZERO)
    refused(errno.ENOTSUP, h.zero, 4095, 1, nbd.CMD_FLAG_FAST_ZERO)


def main(socket, read_only_socket, slow_zeroes_socket):
    handshake(socket)
    h = connect(socket)
    for yes in (h.can_flush, h.can_fua, h.can_trim, h.can_zero, h.can_fast_zero, h.can_cache, h.can_df,
                h.can_multi_conn, h.get_structured_replies_negotiated):
        assert yes(), yes
    assert h.can_meta_context(nbd.CONTEXT_BASE_ALLOCATION) and not h.can_meta_context("x-ebb:unknown")
    assert not h.is_rotational() and not h.is_read_only()
    assert [h.get_block_size(i) for i in (nbd.SIZE_MINIMUM, nbd.SIZE_PREFERRED, nbd.SIZE_MAXIMUM)] == [1, 4096, PAYLOAD_MAX]
    model(h)
    sparse(h)
    large(h)
    refusals(h)

    # Nothing that was not asked for.
    simple = connect(socket, lambda s: s.set_request_structured_replies(False))
    assert not simple.get_structured_replies_negotiated() and not simple.can_df()
    assert not simple.can_meta_context(nbd.CONTEXT_BASE_ALLOCATION)
    model(simple)
    refused(errno.EINVAL, simple.pread, PAYLOAD_MAX + 1, 0)
    old = connect(socket, lambda s: s.set_handshake_flags(0))
    assert old.pread(100, 0) == simple.pread(100, 0)

    # What one connection has written another sees, and flushes.
    simple.pwrite(b"one", 500)
    assert h.pread(3, 500) == b"one"
    h.flush()

    fixed = connect(read_only_socket)
    assert fixed.is_read_only() and fixed.can_flush() and not fixed.can_trim() and not fixed.can_zero()
    refused(errno.EPERM, fixed.pwrite, b"x", 0)
    refused(errno.EPERM, fixed.zero, 4096, 0)
    refused(errno.EPERM, fixed.trim, 4096, 0)
    fixed.flush(), fixed.cache(4096, 0)
    assert fixed.pread(4096, 0) == bytes(4096)

    slow = connect(slow_zeroes_socket)
    slow.pwrite(b"x" * 4096, 0)
    refused(errno.ENOTSUP, slow.zero, 4096, 0, nbd.CMD_FLAG_FAST_ZERO)
    assert slow.pread(4096, 0) == b"x" * 4096
    slow.zero(4096, 0)
    assert slow.pread(4096, 0) == bytes(4096)
    for each in (h, simple, old, fixed, slow):
        each.shutdown()
    print("corner cases passed")


if __name__ == "__main__":
    main(*sys.argv[1:])
