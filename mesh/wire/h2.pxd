from mesh.wire.codec cimport Handler, Stream
from mesh.wire.hpack cimport Block, Decoder, Encoder, Head, literal
from mesh.wire.limits cimport Allowance
from mesh.wire.octets cimport equal_at, octets_of
from mesh.wire.sending cimport DRAIN_PING, SendingSide
from mesh.wire.streams cimport ENDED, OWN_RESET, PEER_RESET, StreamState, word_at

cdef int MAX_FRAME
cdef long long MAX_WINDOW
cdef int MAX_BLOCK
cdef int CONTINUATIONS
cdef double RAPID

cdef class Connection(SendingSide):
    cdef readonly Encoder encoder
    cdef Decoder decoder
    cdef object settings
    cdef readonly bint peer_goaway
    cdef readonly unsigned int peer_max_streams
    cdef readonly bint settings_received
    cdef readonly bint settings_acknowledged
    cdef unsigned int next_id
    cdef unsigned int highest_id
    cdef unsigned int max_streams
    cdef long long peer_window
    cdef long long stream_window
    cdef bint preface_due
    cdef bint connect_protocol
    cdef bytearray fragment
    cdef unsigned int fragment_id
    cdef int fragment_flags
    cdef int fragments
    cdef long long reads
    cdef long long opened
    cdef long long peer_resets
    cdef long long data_received
    cdef Allowance settings_frames
    cdef Allowance empties
    cdef Allowance forced_resets

    cdef int open_streams(self) except -1
    cpdef int start(self) except -1
    cpdef Py_ssize_t receive(self, bytearray buf, Py_ssize_t n) except -1
    cpdef list all_streams(self)
    cpdef bint can_open(self) except -1
    cpdef Stream open(self, object owner, bytes header_block, bint end, bint head_request=*)
    cpdef Stream request(self, object owner, Head head, bytes extra, bint end)
    cpdef int send_head(self, StreamState stream, Head head, bytes extra, bint end) except -1
    cpdef bint settled(self) except -1
    cpdef bytes field(self, bytes name, bytes value)

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
    cdef int on_reset_frame(self, unsigned int stream_id, unsigned int code) except -1
    cdef int on_settings_frame(self, int flags, bytearray buf, Py_ssize_t start, Py_ssize_t n) except -1
    cdef int on_setting(self, int identifier, long long value) except -1
    cdef int on_ping(self, int flags, bytes data) except -1
    cdef int on_goaway_frame(self, bytearray buf, Py_ssize_t start, Py_ssize_t n) except -1
    cdef int on_window_update(self, unsigned int stream_id, long long increment) except -1
    cdef int on_priority(self, unsigned int stream_id, unsigned int dependency, Py_ssize_t n) except -1
    cdef int stray(self, unsigned int stream_id, bint opens) except -1
    cdef bint idle(self, unsigned int stream_id) except -1
    cdef int close_remote(self, Stream stream) except -1
    cdef int stream_error(self, Stream stream, unsigned int code) except -1
    cdef int refuse(self, unsigned int stream_id, unsigned int code) except -1
    cdef int fail(self, unsigned int code, str reason) except -1
    cdef int spend(self, Allowance allowance, str reason) except -1
