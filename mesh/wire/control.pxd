from mesh.wire.codec cimport Handler, Stream
from mesh.wire.hpack cimport Decoder, Encoder
from mesh.wire.limits cimport Allowance
from mesh.wire.octets cimport octets_of
from mesh.wire.sending cimport DRAIN_PING, SendingSide
from mesh.wire.streams cimport OWN_RESET, PEER_RESET, StreamState, word_at
from mesh.wire.windows cimport PROBE

cdef long long MAX_WINDOW
cdef double RAPID_RESET_AGE

cdef class ControlSide(SendingSide):
    cdef object settings
    cdef readonly Encoder encoder
    cdef Decoder decoder
    cdef readonly unsigned int peer_max_streams
    cdef readonly long long peer_max_header_list
    cdef readonly bint peer_connect_protocol
    cdef bint peer_no_priorities
    cdef readonly bint settings_received
    cdef readonly bint settings_acknowledged
    cdef bint first_settings
    cdef public unsigned int next_id
    cdef unsigned int highest_id
    cdef long long peer_window
    cdef long long stream_window
    cdef double begun
    cdef double partial
    cdef long long peer_resets
    cdef double early_age
    cdef Allowance settings_frames
    cdef Allowance priorities
    cdef Allowance forced_resets
    cpdef int start(self) except -1
    cpdef int expire(self, bint begun) except -1
    cdef int on_settings_frame(self, int flags, bytearray buf, Py_ssize_t start, Py_ssize_t n) except -1
    cdef int on_settings_ack(self) except -1
    cdef int on_setting(self, int identifier, long long value) except -1
    cdef int on_ping(self, int flags, bytes data) except -1
    cdef int on_goaway_frame(self, bytearray buf, Py_ssize_t start, Py_ssize_t n) except -1
    cdef int on_window_update(self, unsigned int stream_id, long long increment) except -1
    cdef int on_priority(self, unsigned int stream_id, unsigned int dependency, Py_ssize_t n) except -1
    cdef int on_reset_frame(self, unsigned int stream_id, unsigned int code) except -1
    cdef bint idle(self, unsigned int stream_id) except -1
    cdef int stream_error(self, Stream stream, unsigned int code) except -1
    cdef int refuse(self, unsigned int stream_id, unsigned int code) except -1
    cdef int count_refusal(self) except -1
    cdef int send_refusal(self, unsigned int stream_id, unsigned int code) except -1
