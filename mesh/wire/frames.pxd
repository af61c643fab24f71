from mesh.wire.octets cimport copy_octets, put_octets

cdef class FrameWriter:
    cdef public bytearray out
    cdef public Py_ssize_t out_len
    cdef public object owner
    cdef list dirty
    cdef readonly unsigned int peer_max_frame
    cdef int room(self, Py_ssize_t n) except -1
    cdef int frame(self, Py_ssize_t length, int kind, int flags, unsigned int stream_id) except -1
    cdef int put(self, bytes octets) except -1
    cdef int put_word(self, unsigned int value) except -1
    cdef int word_frame(self, int kind, unsigned int stream_id, unsigned int value) except -1
    cdef int headers_frames(self, unsigned int stream_id, bytes block, bint end) except -1
    cdef int data_frames(self, unsigned int stream_id, object buf, Py_ssize_t start, Py_ssize_t n, bint end) except -1
    cdef int settings_frame(self, object pairs) except -1
    cdef int goaway_frame(self, unsigned int last_id, unsigned int code, bytes debug) except -1
    cpdef bytes take_output(self)
    cpdef int trim(self) except -1
