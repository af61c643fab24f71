cdef int ENDED
cdef int PEER_RESET
cdef int OWN_RESET

cdef class StreamState:
    cdef readonly unsigned int id
    cdef public object owner
    cdef readonly long long send_window
    cdef readonly long long recv_window
    cdef readonly bint local_closed
    cdef readonly bint remote_closed
    cdef readonly bint closed
    cdef readonly bint headers_sent
    cdef readonly bint headers_received
    cdef readonly bint head_request
    cdef readonly int tunnel
    cdef int waits
    cdef readonly long long window
    cdef long long unreleased
    cdef long long expected
    cdef readonly double opened
    cdef double epoch
    cpdef int begin(self, unsigned int stream_id, long long send_window, long long recv_window, double opened) except -1

cdef class StreamTable:
    cdef list slots
    cdef Py_ssize_t mask
    cdef dict overflow
    cdef readonly int count
    cdef bytearray ghosts
    cdef dict resets
    cpdef StreamState find(self, unsigned int stream_id)
    cpdef int add(self, StreamState stream) except -1
    cpdef int remove(self, StreamState stream, int how) except -1
    cpdef int remember(self, unsigned int stream_id, int how) except -1
    cpdef int fate(self, unsigned int stream_id) except -1
    cpdef list streams(self)

cdef unsigned int word_at(bytearray buf, Py_ssize_t at) except? 0xFFFFFFFF
