from mesh.wire.codec cimport Handler
from mesh.wire.frames cimport FrameWriter
from mesh.wire.limits cimport Allowance
from mesh.wire.streams cimport ENDED, OWN_RESET, StreamState, StreamTable

cdef bytes DRAIN_PING

cdef class SendingSide(FrameWriter):
    cdef StreamTable table
    cdef readonly bint local_goaway
    cdef bint draining
    cdef readonly unsigned int last_peer_id
    cdef readonly long long send_window
    cdef readonly long long recv_window
    cdef long long unreleased
    cdef long long half_window
    cdef long long half_connection
    cdef long long own_resets
    cdef long long data_sent
    cdef Allowance pings
    cdef Allowance updates
    cdef Allowance rapid_resets
    cpdef int send_headers(self, StreamState stream, bytes header_block, bint end) except -1
    cpdef Py_ssize_t sendable(self, StreamState stream) except -1
    cpdef int send_data(self, StreamState stream, object buf, Py_ssize_t start, Py_ssize_t n, bint end) except -1
    cpdef int release(self, StreamState stream, int credit) except -1
    cpdef int reset(self, StreamState stream, unsigned int code) except -1
    cpdef int goaway(self, unsigned int code=*, bytes debug=*) except -1
    cpdef int drain(self) except -1
    cpdef int ping(self, bytes data) except -1
    cdef int drop(self, StreamState stream, int how) except -1
