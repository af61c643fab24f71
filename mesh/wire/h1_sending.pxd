from mesh.balance.rng cimport Rng
from mesh.wire.codec cimport ABORTS, CLOSES, Codec, Handler, Stream
from mesh.wire.fieldrules cimport all_of
from mesh.wire.h1_parse cimport Message
from mesh.wire.h1_write cimport Form, accept_of, form_of
from mesh.wire.hpack cimport Head
from mesh.wire.octets cimport copy_octets
from mesh.wire.streams cimport StreamState

cdef int NONE, LENGTH, CHUNKED, UNTIL_CLOSE, TUNNEL
cdef int HEAD_DUE, LENGTH_DUE, CHUNKS_DUE, TRAILERS_DUE, REST_DUE, TUNNEL_DUE, NOTHING_DUE
cdef Py_ssize_t MAX_PENDING
cdef long long WINDOW
cdef long long MAX_DROPPED
cdef bytes HEX
cdef Rng RNG

cdef class SendingSide(Codec):
    cdef Rng rng
    cdef Stream stream
    cdef Message request_message
    cdef int state
    cdef int framing
    cdef long long left_out
    cdef bint persistent
    cdef bint draining
    cdef bint eof
    cdef bint held
    cdef bint choked
    cdef bint begun
    cdef long long unreleased
    cdef long long left_to_drop
    cdef long long left
    cdef Py_ssize_t searched
    cdef unsigned int next_id
    cdef bytes upgrade
    cdef bint undecided
    cdef bytes own_key
    cdef readonly int keep_alive_timeout

    cdef int open_streams(self) except -1
    cpdef list all_streams(self)
    cpdef bint can_open(self) except -1
    cpdef str request_problem(self, Head head)
    cpdef Stream request(self, object owner, Head head, bytes extra, bint end)
    cdef Stream new_stream(self, object owner)
    cdef bytes new_key(self)
    cpdef int send_head(self, StreamState stream, Head head, bytes extra, bint end) except -1
    cdef int put_head(self, Form form, bytes extra, bytes framing) except -1
    cdef int send_response(self, StreamState stream, Head head, Form form, bytes extra, bint end) except -1
    cdef int switch(self, StreamState stream, Form form, bytes extra, bint end) except -1
    cdef int send_trailers(self, StreamState stream, Form form, bytes extra) except -1
    cpdef bytes field(self, bytes name, bytes value)
    cpdef Py_ssize_t sendable(self, StreamState stream) except -1
    cpdef int send_data(self, StreamState stream, object buf, Py_ssize_t start, Py_ssize_t n, bint end) except -1
    cdef int put_data(self, object buf, Py_ssize_t start, Py_ssize_t n) except -1
    cdef int put_chunk(self, object buf, Py_ssize_t start, Py_ssize_t n, bint end) except -1
    cpdef int wait(self, StreamState stream) except -1
    cpdef int serve(self) except -1
    cpdef Py_ssize_t waiters(self) except -1
    cpdef int release(self, StreamState stream, int credit) except -1
    cdef int close_local(self, StreamState stream) except -1
    cdef int complete(self, StreamState stream) except -1
    cdef int go_on(self) except -1
    cdef int end_with(self, int how) except -1
    cpdef int reset(self, StreamState stream, unsigned int code) except -1
    cpdef int drain(self) except -1
