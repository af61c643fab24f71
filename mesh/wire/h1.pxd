from mesh.wire.codec cimport ABORTS, CLOSES, Handler, Stream
from mesh.wire.h1_chunks cimport Chunks
from mesh.wire.h1_parse cimport REQUEST, RESPONSE, Message, message_at, trailers_at
from mesh.wire.h1_patterns cimport BY_ROLE, Pattern, Patterns
from mesh.wire.h1_sending cimport (
    CHUNKS_DUE, HEAD_DUE, LENGTH_DUE, NOTHING_DUE, REST_DUE, TRAILERS_DUE, TUNNEL, TUNNEL_DUE, WINDOW,
    SendingSide)
from mesh.wire.h1_syntax cimport LOWER, MAX_FIELDS, MAX_LINE, MAX_SECTION, MAX_TRAILERS
from mesh.wire.h1_write cimport accept_of, refusal
from mesh.wire.hpack cimport Block
from mesh.wire.octets cimport equal_at, find_octet

cdef int MAX_BLANK_LINES
cdef int MAX_INTERIM
cdef bytes LAST_CHUNK
cdef bytearray NO_OCTETS
cdef frozenset ACCEPT_NAMES
cdef frozenset LENGTH_NAMES

cdef class Connection(SendingSide):
    cdef Chunks chunks
    cdef Py_ssize_t line
    cdef int lines
    cdef Py_ssize_t first
    cdef int blank_lines
    cdef int interim
    cdef Pattern pattern
    cdef double partial

    cpdef int start(self) except -1
    cpdef Py_ssize_t receive(self, bytearray buf, Py_ssize_t n) except -1
    cdef Py_ssize_t advance(self, bytearray buf, Py_ssize_t at, Py_ssize_t n) except -1
    cpdef bint receive_eof(self) except -1
    cpdef bint reading(self) except -1
    cpdef double oldest_unfinished(self) except -1
    cdef Py_ssize_t on_head(self, bytearray buf, Py_ssize_t at, Py_ssize_t n) except -1
    cdef Py_ssize_t on_message(self, Message message, Block block, Py_ssize_t end) except -1
    cdef Py_ssize_t blank_line(self, bytearray buf, Py_ssize_t at, Py_ssize_t n) except -1
    cdef Py_ssize_t search(self, bytearray buf, Py_ssize_t at, Py_ssize_t n, Py_ssize_t most_line,
                           Py_ssize_t most) except -2
    cdef int too_long(self) except -1
    cdef int on_request(self, Message message, Block block) except -1
    cdef int on_response(self, Message message, Block block) except -1
    cdef int open_tunnel(self, Stream stream, Block block) except -1
    cdef int check_accept(self, Block block) except -1
    cdef int expect_chunks(self) except -1
    cdef Py_ssize_t on_chunks(self, bytearray buf, Py_ssize_t at, Py_ssize_t n) except -1
    cdef Py_ssize_t on_trailers(self, bytearray buf, Py_ssize_t at, Py_ssize_t n) except -1
    cdef int deliver(self, bytearray buf, Py_ssize_t at, Py_ssize_t n, bint end) except -1
    cdef int close_remote(self, Stream stream) except -1
    cpdef int expire(self, bint begun) except -1
    cdef int fail(self, int status, str reason) except -1

cdef bint block_says(Block block) except -1
