from mesh.wire.codec cimport Handler, Stream
from mesh.wire.control cimport ControlSide
from mesh.wire.hpack cimport Block, Head, literal
from mesh.wire.limits cimport Allowance
from mesh.wire.octets cimport equal_at, octets_of
from mesh.wire.streams cimport ENDED, OWN_RESET, StreamState, word_at

cdef class Connection(ControlSide):
    cdef unsigned int max_streams
    cdef Py_ssize_t max_frame
    cdef bint connect_protocol
    cdef bint preface_due
    cdef bytearray fragment
    cdef unsigned int fragment_id
    cdef int fragment_flags
    cdef int fragments
    cdef int max_fragments
    cdef Py_ssize_t max_block
    cdef int fresh
    cdef int max_fresh
    cdef long long data_received
    cdef Allowance empties
    cdef Allowance refused

    cdef int open_streams(self) except -1
    cpdef Py_ssize_t receive(self, bytearray buf, Py_ssize_t n) except -1
    cdef int keep_time(self, bint partial, bint moved) except -1
    cpdef double oldest_unfinished(self) except -1
    cpdef list all_streams(self)
    cpdef bint can_open(self) except -1
    cpdef Stream open(self, object owner, bytes header_block, bint end, bint head_request=*)
    cpdef bint tunnels(self) except -1
    cpdef Stream request(self, object owner, Head head, bytes extra, bint end)
    cpdef int send_head(self, StreamState stream, Head head, bytes extra, bint end) except -1
    cpdef bint settled(self) except -1
    cpdef bytes field(self, bytes name, bytes value)

    cdef int judge(self, int kind, int flags, unsigned int stream_id, Py_ssize_t n) except -1
    cdef int on_frame(self, int kind, int flags, unsigned int stream_id, bytearray buf, Py_ssize_t start,
                      Py_ssize_t n) except -1
    cdef int on_data_frame(self, int flags, unsigned int stream_id, bytearray buf, Py_ssize_t start,
                           Py_ssize_t n) except -1
    cdef int on_headers_frame(self, int flags, unsigned int stream_id, bytearray buf, Py_ssize_t start,
                              Py_ssize_t n) except -1
    cdef int on_continuation(self, int flags, unsigned int stream_id, bytearray buf, Py_ssize_t start,
                             Py_ssize_t n) except -1
    cdef int on_block(self, int flags, unsigned int stream_id, bytearray buf, Py_ssize_t start,
                      Py_ssize_t end) except -1
    cdef int on_request(self, unsigned int stream_id, Block block, bint end, unsigned int code) except -1
    cdef int on_section(self, Stream stream, Block block, bint end) except -1
    cdef int stray(self, unsigned int stream_id, bint opens) except -1
    cdef int close_remote(self, Stream stream) except -1
